"""For tests of the commands: a tiny checkpoint, a small run folder, the command line in this process."""

import contextlib
import io
import json
import signal
from dataclasses import dataclass

import torch
from typer.main import get_command

from idol.cli import main, program
from support.drawn import drawn_clip

SIZE = 64
COMMANDS = {command.name: command for command in get_command(program).commands.values()}


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self):
        (line,) = self.out.splitlines()
        return json.loads(line)


def call(*arguments):
    """`idol` in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(a) for a in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def heeds_ctrl_c():
    """For a new process: whoever runs the tests in the background has Ctrl-C ignored, and so would it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def refused(*arguments):
    """The one line with which the command line turns something down; it must be one line, and exit code 2."""
    done = call(*arguments)
    told = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.code == 2, done
    assert len(told) == 1 and done.err.splitlines()[-1] == told[0] and "Traceback" not in done.err, done
    assert not done.out, done
    return told[0].removeprefix("error: ")


def save_tiny_pipeline(folder):
    """A checkpoint with everything a real one has and random weights; a second or so for a clip."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    from idol.model import PoseAdapter, UnifiedUNet
    from idol.model.autoencoder import Autoencoder
    from idol.model.encoders import LatentForeground
    from idol.pipeline.pipeline import IdolPipeline

    torch.manual_seed(0)
    one, zero = [1.0] * 4, [0.0] * 4
    pipe = IdolPipeline(
        vae=Autoencoder(latent_channels=4, channels=(8, 8, 8), encoder_blocks=1, decoder_blocks=1),
        unet=UnifiedUNet(
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 16),
            layers_per_block=1,
            attention=(True, True),
            attention_head_dim=2,
            cross_attention_dim=12,
            norm_num_groups=4,
        ),
        control=PoseAdapter(channels=(16, 16), num_res_blocks=1, downscale_factor=16),
        foreground_encoder=LatentForeground(
            in_channels=4, grid_size=4, cross_attention_dim=12, num_layers=1, num_heads=2
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        latent_config={
            "scale": [one, one],
            "shift": [zero, zero],
            "image_scale": one,
            "image_shift": zero,
            "latent_reference": "background",
        },
        generation_config={
            "height": SIZE,
            "width": SIZE,
            "num_inference_steps": 2,
            "guidance_scale": 2.0,
            "foreground_size": 64,
        },
    )
    pipe.save_pretrained(folder)
    return folder


def save_run(folder, weights, frames=3, seed=5, audio=None, steps=2):
    """A finished run folder, made by the functions behind the verb from a drawn person."""
    from idol.generation.environment import checkpoint_files, load_pipeline, package_versions
    from idol.generation.generate import run_prepared
    from idol.generation.run_folder import RunInputs, RunRecord, RunSettings

    clip = drawn_clip(seed, frames, SIZE)
    inputs = RunInputs(clip.video[0], clip.mask[0], clip.pose.select([0]), clip.pose, clip.background, audio)
    pipe = load_pipeline(str(weights), "cpu")
    settings = RunSettings(str(weights), steps, 2.0, seed, 12.5, SIZE, SIZE, "cpu", torch.get_num_threads())
    record = RunRecord(
        settings, frames, (), (), (), checkpoint_files(pipe), package_versions(), ("drawn",), 0.0
    )
    return run_prepared(pipe, inputs, record, folder)
