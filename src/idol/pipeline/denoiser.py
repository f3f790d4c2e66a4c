"""One evaluation of the network while sampling: guidance, overlapping windows, and nothing computed twice."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from idol.diffusion.schedule import guidance
from idol.errors import UserError
from idol.model.control import PoseAdapter, PoseControlNet
from idol.model.unet import UnifiedUNet
from idol.model.unet_encoder import Control, ForegroundKV
from idol.pipeline.disk_tensor import FrameStore, PerFrame, of_frames


@dataclass(frozen=True)
class Reading:
    """What a ControlNet is given at every step beside the noisy latents.

    Attributes:
        foreground: Keys and values of its foreground attentions, folded.
        embedded: Its embedded image (b, k, f, d, h, w), or (b, k, 1, d, h, w) that serves all frames.
    """

    foreground: ForegroundKV
    embedded: PerFrame


@dataclass(frozen=True)
class Conditions:
    """Everything an evaluation needs beside the noisy latents: made once, used at every step.

    Where guidance is wanted an evaluation's batch is folded: first every clip without, then every clip with
    foreground. What belongs to frames is kept once, and folded for the frames of a window only.

    Attributes:
        foreground: Keys and values of the U-Net's foreground attentions, folded.
        background: Latents (b, c, h, w), or (b, f, c, h, w) if the camera moves.
        guided: Whether the batch is folded.
        residuals: Those that do not change over the steps (an adapter's), or None.
        pose: What the pose's ControlNet reads, or None.
        plate: What the background's ControlNet reads, or None.
        draft: Latents of the draft (b, m, f, c, h, w), or None.
    """

    foreground: ForegroundKV
    background: PerFrame
    guided: bool
    residuals: tuple[FrameStore, ...] | None = None
    pose: Reading | None = None
    plate: Reading | None = None
    draft: FrameStore | None = None

    def shown(self, value: PerFrame, frames: slice) -> Tensor:
        """One of them as an evaluation of some of the frames sees it."""
        return _folded(of_frames(value, frames), self.guided)


@dataclass(frozen=True)
class Denoiser:
    """The networks, and how they are asked.

    Attributes:
        unet: The U-Net.
        control: What lets the pose in, or None.
        scale: Guidance scale; 1 is no guidance.
        window: Frames at a time; predictions of overlapping windows are averaged, the more weight the farther
            a frame is from its window's ends. None: all at once.
        overlap: Frames shared by neighboring windows.
        background_control: What lets the background in where the U-Net does not.
    """

    unet: UnifiedUNet
    control: PoseAdapter | PoseControlNet | None = None
    scale: float = 1.0
    window: int | None = None
    overlap: int = 0
    background_control: PoseControlNet | None = None

    def prepare(
        self,
        foreground: Float[Tensor, "b n d"],
        unconditional: Float[Tensor, "b n d"] | None,
        background: PerFrame,
        pose: Iterable[Tensor | None],
        parts: Sequence[slice],
        draft: FrameStore | None = None,
    ) -> Conditions:
        """Do all work that is the same at every step.

        Args:
            foreground: Tokens of the person.
            unconditional: Tokens of no person; None samples without guidance.
            background: Latents of the background, (b, c, h, w) or (b, f, c, h, w).
            pose: For each part skeleton images (b, n, p, y, x) in [0, 1], or their latents where the
                ControlNet takes those; not looked at without pose control.
            parts: The frames, some after the others.
            draft: Latents of the draft (b, m, f, c, h, w), where the network takes one.
        """
        guided = unconditional is not None
        tokens = foreground if unconditional is None else torch.cat([unconditional, foreground])
        tokens, f = tokens.to(self.unet.dtype), parts[-1].stop
        shown = (part.to(self.unet.dtype) for part in pose if part is not None)
        conditions = Conditions(self.unet.encode_foreground(tokens), background, guided, draft=draft)
        if self.background_control is not None:
            read = self._read_background(self.background_control, tokens, background, parts)
            conditions = replace(conditions, plate=read)
        match self.control:
            case PoseAdapter():
                made = (self.control(part).intrablock or () for part in shown)
                return replace(conditions, residuals=FrameStore.levels_of(made, f, 2))
            case PoseControlNet():
                embedded = FrameStore.of(map(self.control.embed_pose, shown), f, 2)
                return replace(conditions, pose=Reading(self.control.encode_foreground(tokens), embedded))
        return conditions

    def spans(self, frames: int) -> list[slice]:
        """The windows of a clip."""
        if self.window is None or frames <= self.window:
            return [slice(0, frames)]
        return list(windows(frames, self.window, self.overlap))

    def predictions(
        self,
        noisy: Callable[[slice], Float[Tensor, "b m n c h w"]],
        frames: int,
        times: Shaped[Tensor, "b m"],
        conditions: Conditions,
    ) -> Iterator[tuple[slice, Float[Tensor, "b m n c h w"]]]:
        """The guided prediction of a whole clip: frames after frames, each when no window adds to it.

        Frames that have been yielded are not looked at again: the next step's may take their place.

        Args:
            noisy: Noisy latents of some of the frames.
            frames: Length of the clips.
            times: One diffusion time per clip and modality.
            conditions: See `prepare`.

        Yields:
            Frames and what is predicted for them, in float32.
        """
        spans = self.spans(frames)
        if len(spans) == 1:
            yield spans[0], self._predict(noisy(spans[0]), times, conditions, spans[0])
            return
        ramp = torch.arange(1, spans[0].stop + 1, device=times.device)
        weight = torch.minimum(ramp, ramp.flip(0)).float()[:, None, None, None]
        total, weights = times.new_zeros(()), weight[:0]  # of the frames that windows share
        for span, following in zip_longest(spans, spans[1:]):
            part, part_weights = weight * self._predict(noisy(span), times, conditions, span), weight.clone()
            shared = len(weights)
            part[:, :, :shared] += total
            part_weights[:shared] += weights
            end = span.stop if following is None else following.start
            done = end - span.start
            yield slice(span.start, end), part[:, :, :done] / part_weights[:done]
            total, weights = part[:, :, done:], part_weights[done:]

    def _predict(self, latents: Tensor, times: Tensor, conditions: Conditions, frames: slice) -> Tensor:
        dtype, shown = self.unet.dtype, partial(conditions.shown, frames=frames)
        sample, times = _folded(latents.to(dtype), conditions.guided), _folded(times, conditions.guided)
        control: Control | None = None
        if conditions.residuals is not None:
            control = Control(intrablock=tuple(map(shown, conditions.residuals)))
        for network, read in ((self.control, conditions.pose), (self.background_control, conditions.plate)):
            if isinstance(network, PoseControlNet) and read is not None:
                own = network(sample, times, read.foreground, pose_embedded=shown(read.embedded))
                control = own if control is None else control + own
        background = shown(conditions.background).to(dtype)
        draft = None if conditions.draft is None else shown(conditions.draft).to(dtype)
        out = self.unet(sample, times, conditions.foreground, background, control, draft=draft).sample
        if not conditions.guided:
            return out.float()
        unconditional, conditional = out.chunk(2)
        return guidance(unconditional, conditional, self.scale)

    def _read_background(
        self, network: PoseControlNet, tokens: Tensor, background: PerFrame, parts: Sequence[slice]
    ) -> Reading:
        """Tokens are folded already, the images are not: they are embedded once."""
        foreground = network.encode_foreground(tokens)
        if isinstance(background, Tensor):
            return Reading(foreground, network.embed_pose(background[:, None].to(network.dtype)))
        embedded = (network.embed_pose(background[part].to(network.dtype)) for part in parts)
        return Reading(foreground, FrameStore.of(embedded, background.frames, 2))


def noise_of(
    shape: tuple[int, ...],
    parts: Sequence[slice],
    generator: torch.Generator | Sequence[torch.Generator] | None,
    scale: float,
    device: torch.device,
) -> FrameStore:
    """Noise that clips start from: normal, drawn in float32, clip after clip and stream after stream.

    Args:
        shape: (b, m, f, c, h, w).
        parts: The frames, some after the others.
        generator: One per clip, or one for all.
        scale: Standard deviation.
        device: Where it will be wanted.

    Raises:
        UserError: If there are other than 1 or b generators.
    """
    b, m, f, *frame = shape
    generators = list(generator) if isinstance(generator, (list, tuple)) else [generator] * b
    if len(generators) != b:
        raise UserError("generator", f"{len(generators)} generators", f"give 1 or {b}")

    def stream(g: Any) -> FrameStore:
        where = None if g is None else g.device
        drawn = (torch.randn(p.stop - p.start, *frame, generator=g, device=where) for p in parts)
        return FrameStore.of(drawn, f, 0)

    clips = [[stream(g) for _ in range(m)] for g in generators]
    joined = (
        torch.stack([torch.stack([stream[part] for stream in clip]) for clip in clips]) for part in parts
    )
    return FrameStore.of((part.to(device) * scale for part in joined), f, 2)


def windows(f: int, window: int, overlap: int) -> Iterator[slice]:
    """Windows of `window` frames that cover `f` >= `window` frames and overlap by at least `overlap`."""
    for start in range(0, f - window, window - overlap):
        yield slice(start, start + window)
    yield slice(f - window, f)


def _folded(x: Tensor, guided: bool) -> Tensor:
    return torch.cat([x, x]) if guided else x
