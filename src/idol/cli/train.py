"""Verbs round training: `synth`, `train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from idol import console
from idol.cli.root import Json, program
from idol.errors import UserError


@program.command()
def synth(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the shards; an unfinished one is continued.")
    ],
    clips: Annotated[int, typer.Option(help="How many.")],
    seed: Annotated[int, typer.Option(help="Names the set: with the split it settles every clip.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels along a side.")] = 256,
    frames: Annotated[int, typer.Option(help="Frames in a clip.")] = 8,
    split: Annotated[str, typer.Option(help="Whose people and motions: train, val or test.")] = "train",
    motion_dir: Annotated[
        Path | None, typer.Option(help="More motions: .bvh, .amc with .asf, DeepMimic .txt, .npz.")
    ] = None,
    depth: Annotated[str, typer.Option(help="Depth of the person or of the whole scene.")] = "person",
    joints: Annotated[str, typer.Option(help="Joints: body (18) or whole-body (133).")] = "body",
    workers: Annotated[int | None, typer.Option(help="Processes.  [default: one per core]")] = None,
    as_json: Json = False,
) -> None:
    """Synthetic people with exact depth, as shards for training and evaluation."""
    from idol.synthesis import generate

    with console.progress_bar("drawing clips") as progress:
        folder = generate(
            out,
            clips,
            seed,
            size=size,
            frames=frames,
            workers=workers,
            split=split,  # type: ignore[arg-type]  # checked there
            motion_dir=motion_dir,
            depth=depth,  # type: ignore[arg-type]
            joints=joints,  # type: ignore[arg-type]
            progress=progress,
        )
    console.say(f"{clips} clips in {folder}")
    if as_json:
        kind = {"split": split, "depth": depth, "joints": joints}
        console.emit({"ok": True, "folder": folder, "clips": clips, "seed": seed, **kind})


@program.command()
def train(
    config: Annotated[Path, typer.Argument(help="The stage: a file of configs/, or your own.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="a.b=value, after the file's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved config and stop.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="When done, write a folder for `idol generate --weights` here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One stage of training."""
    from idol.config import dump, to_dict

    stage, fit = _stage(config, overrides or [], resume)
    if dry_run:
        console.emit(to_dict(stage)) if as_json else print(dump(stage), end="")
        return
    if export is not None:
        _check_export(export, stage.stage)
    folder = fit()
    console.say(f"checkpoint {folder}")
    if export is not None:
        from idol.training.export import export as export_run

        export_run(folder, export)
        console.say(f"weights    {export}")
    if as_json:
        done = {"stage": stage.stage, "out": stage.out, "checkpoint": folder, "weights": export}
        console.emit({"ok": True, **done})


def _check_export(folder: Path, stage: str) -> None:
    """Refuse, before hours of training, what could not be exported or would be lost by it."""
    if stage in ("autoencoder", "lifter"):
        raise UserError("--export", f"the {stage} alone generates nothing", "export another stage")
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise UserError("--export", f"{folder} exists and holds no weights", "name another folder")


def _stage(path: Path, overrides: list[str], resume: bool) -> tuple[Any, Callable[[], Path]]:
    """The config of a stage, and what trains it."""
    from idol.config import load_config, read_config

    if read_config(path).get("stage") == "lifter":
        from idol.training.train_lifter import LifterTrainConfig, fit_lifter

        lifter = load_config(LifterTrainConfig, path, overrides)
        return lifter, lambda: fit_lifter(lifter, resume)
    if read_config(path).get("stage") == "autoencoder":
        from idol.training.train_autoencoder import AutoencoderConfig, fit_autoencoder

        autoencoder = load_config(AutoencoderConfig, path, overrides)
        return autoencoder, lambda: fit_autoencoder(autoencoder, resume)
    from idol.training.train import TrainConfig, fit

    diffusion = load_config(TrainConfig, path, overrides)
    return diffusion, lambda: fit(diffusion, resume)
