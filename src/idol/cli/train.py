"""Commands around training: `synth`, `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import idol
from idol import console
from idol.cli.root import Json, arguments, program, show_progress

Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the file: key=value, a.b=value.")]


@program.command()
def synth(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the shards; an unfinished one is continued.")
    ],
    clips: Annotated[int, typer.Option(help="Number of clips.")],
    seed: Annotated[int, typer.Option(help="Seed of the set; with the split it determines every clip.")] = 0,
    size: Annotated[int, typer.Option(help="Height and width of the frames, pixels.")] = 256,
    frames: Annotated[int, typer.Option(help="Frames per clip.")] = 8,
    split: Annotated[str, typer.Option(help="Split of persons and motions: train, val or test.")] = "train",
    motion_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of more motion files: .bvh, .amc with .asf, DeepMimic .txt, .npz."),
    ] = None,
    depth: Annotated[str, typer.Option(help="Depth of the person or of the whole scene.")] = "person",
    joints: Annotated[str, typer.Option(help="Joints: body (18) or whole-body (133).")] = "body",
    workers: Annotated[
        int | None, typer.Option(help="Number of processes.", show_default="one per core")
    ] = None,
    as_json: Json = False,
) -> None:
    """Render synthetic clips of people, with exact depth."""
    given = arguments(locals())
    with show_progress("rendering clips") as progress:
        folder = idol.synth(**given, progress=progress)
    console.say(f"{clips} clips in {folder}")
    if as_json:
        kind = {"split": split, "depth": depth, "joints": joints}
        console.emit({"ok": True, "folder": folder, "clips": clips, "seed": seed, **kind})


@program.command()
def train(
    config: Annotated[Path, typer.Argument(help="Config file of the stage: one of configs/, or your own.")],
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved config and stop.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="When done, write a checkpoint for `idol generate --weights` to this folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train one stage from its config file."""
    given = arguments(locals())
    with show_progress() as progress:
        stage = idol.train(**given, progress=progress)
    if dry_run:
        from idol.config import dump, to_dict

        console.emit(to_dict(stage.config)) if as_json else print(dump(stage.config), end="")
        return
    console.say(f"checkpoint {stage.checkpoint}")
    if stage.weights is not None:
        console.say(f"weights    {stage.weights}")
    if as_json:
        done = {"stage": stage.config.stage, "out": stage.config.out}
        console.emit({"ok": True, **done, "checkpoint": stage.checkpoint, "weights": stage.weights})
