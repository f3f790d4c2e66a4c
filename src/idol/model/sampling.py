"""One evaluation of the network while sampling: guidance, overlapping windows, and nothing computed twice."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from idol.diffusion import guidance
from idol.model.codec import LatentCodec
from idol.model.control import PoseAdapter, PoseControlNet
from idol.model.trunk import Control, ForegroundKV
from idol.model.unet import UnifiedUNet


@dataclass(frozen=True)
class Reading:
    """What a ControlNet is given at every step beside the noisy latents.

    Attributes:
        foreground: Keys and values of its foreground attentions, folded.
        embedded: Its embedded picture (b, k, f, d, h, w), or (b, k, 1, d, h, w) that serves all frames.
    """

    foreground: ForegroundKV
    embedded: Tensor

    def select(self, frames: slice) -> "Reading":
        """The same for some of the frames."""
        still = self.embedded.shape[2] == 1
        return self if still else Reading(self.foreground, self.embedded[:, :, frames])

    def folded(self) -> "Reading":
        """With every picture twice."""
        return Reading(self.foreground, _folded(self.embedded, True))


@dataclass(frozen=True)
class Conditions:
    """Everything an evaluation needs beside the noisy latents: made once, used at every step.

    Where guidance is wanted an evaluation's batch is folded: first every clip without, then every clip with
    foreground. What belongs to frames is kept once, and folded for the frames of a window only.

    Attributes:
        foreground: Keys and values of the U-Net's foreground attentions, folded.
        background: Latents (b, c, h, w), or (b, f, c, h, w) if the camera moves.
        guided: Whether the batch is folded.
        control: Residuals that do not change over the steps (an adapter's), or None.
        pose: What the pose's ControlNet reads, or None.
        plate: What the background's ControlNet reads, or None.
        draft: Latents of the draft (b, m, f, c, h, w), or None.
    """

    foreground: ForegroundKV
    background: Tensor
    guided: bool
    control: Control | None = None
    pose: Reading | None = None
    plate: Reading | None = None
    draft: Tensor | None = None

    def select(self, frames: slice) -> "Conditions":
        """The conditions of some of the frames."""
        return replace(
            self,
            background=self.background[:, frames] if self.background.ndim == 5 else self.background,
            control=_changed(self.control, lambda x: x[:, :, frames]),
            pose=None if self.pose is None else self.pose.select(frames),
            plate=None if self.plate is None else self.plate.select(frames),
            draft=None if self.draft is None else self.draft[:, :, frames],
        )

    def folded(self) -> "Conditions":
        """The same for the batch of an evaluation: all there twice where guidance is wanted."""
        if not self.guided:
            return self
        return replace(
            self,
            background=_folded(self.background, True),
            control=_changed(self.control, lambda x: _folded(x, True)),
            pose=None if self.pose is None else self.pose.folded(),
            plate=None if self.plate is None else self.plate.folded(),
            draft=None if self.draft is None else _folded(self.draft, True),
        )


@dataclass(frozen=True)
class Denoiser:
    """The networks, and how they are asked.

    Attributes:
        unet: The U-Net.
        control: What lets the pose in, or None.
        scale: Guidance scale; 1 is no guidance.
        window: Frames at a time; predictions of overlapping windows are averaged, the more weight the farther
            a frame is from its window's ends. None: all at once.
        overlap: Frames shared by neighbouring windows.
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
        background: Float[Tensor, "b c h w"] | Float[Tensor, "b f c h w"],
        pose: Iterable[Tensor | None],
        draft: Float[Tensor, "b m f c h w"] | None = None,
    ) -> Conditions:
        """Do all work that is the same at every step.

        Args:
            foreground: Tokens of the person.
            unconditional: Tokens of no person; None samples without guidance.
            background: Latents of the background.
            pose: Skeleton images (b, n, p, y, x) in [0, 1] of some frames after the others, or their latents
                where the ControlNet takes those; not looked at without pose control.
            draft: Latents of the draft, where the network takes one.
        """
        guided = unconditional is not None
        tokens = foreground if unconditional is None else torch.cat([unconditional, foreground])
        dtype = self.unet.dtype
        tokens, background = tokens.to(dtype), background.to(dtype)
        draft = None if draft is None else draft.to(dtype)
        conditions = Conditions(self.unet.encode_foreground(tokens), background, guided, draft=draft)
        if self.background_control is not None:
            plates = background if background.ndim == 5 else background[:, None]
            conditions = replace(conditions, plate=_reading(self.background_control, tokens, [plates]))
        match self.control:
            case PoseAdapter():
                made = [self.control(part.to(dtype)).intrablock or () for part in pose if part is not None]
                residuals = tuple(torch.cat(levels, 2) for levels in zip(*made, strict=True))
                return replace(conditions, control=Control(intrablock=residuals))
            case PoseControlNet():
                return replace(conditions, pose=_reading(self.control, tokens, pose))
        return conditions

    def predict(
        self, latents: Float[Tensor, "b m f c h w"], times: Shaped[Tensor, "b m"], conditions: Conditions
    ) -> Float[Tensor, "b m f c h w"]:
        """The guided prediction in float32 at noisy `latents`; one diffusion time per clip and modality."""
        f = latents.shape[2]
        if self.window is None or f <= self.window:
            return self._predict(latents, times, conditions)
        total, weights = torch.zeros_like(latents, dtype=torch.float32), latents.new_zeros(f, 1, 1, 1)
        ramp = torch.arange(1, self.window + 1, device=latents.device)
        weight = torch.minimum(ramp, ramp.flip(0)).float()[:, None, None, None]
        for frames in windows(f, self.window, self.overlap):
            part = self._predict(latents[:, :, frames], times, conditions.select(frames))
            total[:, :, frames] += weight * part
            weights[frames] += weight
        return total / weights

    def _predict(self, latents: Tensor, times: Tensor, conditions: Conditions) -> Tensor:
        sample = _folded(latents.to(self.unet.dtype), conditions.guided)
        times = _folded(times, conditions.guided)
        conditions = conditions.folded()
        control = conditions.control
        for network, read in ((self.control, conditions.pose), (self.background_control, conditions.plate)):
            if isinstance(network, PoseControlNet) and read is not None:
                own = network(sample, times, read.foreground, pose_embedded=read.embedded)
                control = own if control is None else control + own
        out = self.unet(
            sample, times, conditions.foreground, conditions.background, control, draft=conditions.draft
        ).sample
        if not conditions.guided:
            return out.float()
        unconditional, conditional = out.chunk(2)
        return guidance(unconditional, conditional, self.scale)


def of_frames(latents: Tensor | None, frames: slice) -> Tensor | None:
    """What belongs to some of the frames: latents (b, c, h, w) serve all of them."""
    if latents is None or latents.ndim == 4:
        return latents
    return latents[:, frames] if latents.ndim == 5 else latents[:, :, frames]


@torch.no_grad()
def decode_frames(
    codec: LatentCodec, latents: Tensor, reference: Tensor | None, frames: slice
) -> Float[Tensor, "b p n 3 h w"]:
    """Pictures of some of the frames; see `LatentCodec.decode`."""
    own = latents[:, :, frames]
    return codec.decode(own, of_frames(reference, frames), own.shape[2])


def _reading(network: PoseControlNet, tokens: Tensor, pictures: Iterable[Tensor | None]) -> Reading:
    """Tokens are folded already, the pictures are not: they are embedded once."""
    parts = [network.embed_pose(part.to(network.dtype)) for part in pictures if part is not None]
    return Reading(network.encode_foreground(tokens), torch.cat(parts, 2))


def windows(f: int, window: int, overlap: int) -> Iterator[slice]:
    """Windows of `window` frames that cover `f` >= `window` frames and overlap by at least `overlap`."""
    for start in range(0, f - window, window - overlap):
        yield slice(start, start + window)
    yield slice(f - window, f)


def _changed(control: Control | None, change: Callable[[Tensor], Tensor]) -> Control | None:
    """An adapter's residuals, each changed; None without."""
    if control is None or control.intrablock is None:
        return control
    return Control(intrablock=tuple(change(x) for x in control.intrablock))


def _folded(x: Tensor, guided: bool) -> Tensor:
    return torch.cat([x, x]) if guided else x
