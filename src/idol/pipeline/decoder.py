"""From denoised latents to images, a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from idol.clip.depth import PERSON_FLOOR, decolorize_tensor
from idol.clip.modality import Modality
from idol.diffusion.latents import LatentCodec
from idol.pipeline.compositing import Compositor
from idol.pipeline.config import IdolOutput
from idol.pipeline.depth_normalization import FrameDepth, normalize_clip
from idol.pipeline.disk_tensor import FrameStore, PerFrame, of_frames
from idol.pipeline.inputs import PipelineInputs
from idol.pipeline.known_modality import KnownModality

_BACKGROUND = 0.75 * PERSON_FLOOR
"""Depth below which a pixel is background. Half the floor lets more haze in; on validation clips silhouettes
were nearest to the true ones at this value."""


@torch.no_grad()
def decode_frames(
    codec: LatentCodec,
    latents: FrameStore,
    reference: PerFrame,
    frames: slice,
    modalities: slice = slice(None),
) -> Float[Tensor, "b p n 3 h w"]:
    """Decode some of the frames; see `LatentCodec.decode`.

    Args:
        codec: Of the latents.
        latents: (b, m, f, c, h', w').
        reference: As for `LatentCodec.decode`.
        frames: Consecutive frames.
        modalities: Which of the m are decoded.
    """
    chosen = latents[frames]
    return codec.decode(chosen, of_frames(reference, frames), chosen.shape[2], modalities)


@dataclass(frozen=True)
class Decoder:
    """Decodes the finished latents of a batch of clips.

    Attributes:
        codec: Of the latents.
        latents: (b, m, f, c, h', w').
        reference: As for `LatentCodec.decode`.
        inputs: What steered the clips.
        known: The modality that was not generated, if any.
        parts: Frames that are decoded at a time.
    """

    codec: LatentCodec
    latents: FrameStore
    reference: PerFrame
    inputs: PipelineInputs
    known: KnownModality
    parts: list[slice]

    @torch.no_grad()
    def outputs(self, depth: FrameStore | None = None) -> Iterator[IdolOutput]:
        """Yield the clips part after part; `depth` (b, f, h, w), where given, is not decoded again."""
        modalities = slice(None) if depth is None else self._modalities[Modality.VIDEO]
        for part in self.parts:
            output = self._output(self._decoded(part, modalities), part)
            output.depth = output.depth if depth is None else depth[part]
            if self.inputs.settings.detail != "none" and self.known.modality != Modality.VIDEO:
                output.video = self._with_detail(output, part)
            yield output

    @torch.no_grad()
    def whole_clip_depth(self, part_done: Callable[[], None] = lambda: None) -> FrameStore | None:
        """Normalize the depth of clips that were generated in windows over each whole clip.

        Args:
            part_done: Called after each part.

        Returns:
            (b, f, h, w), see `idol.pipeline.depth_normalization`; None if the depth is not generated or not
            of a person alone, or joints are unknown.
        """
        settings, poses = self.inputs.settings, self.inputs.target_poses()
        generated = self.codec.produces_depth and self.known.modality != Modality.DEPTH
        if not generated or poses is None or settings.depth_kind != "person":
            return None
        statistics: list[list[FrameDepth]] = [[] for _ in poses]

        def measured(part: slice) -> Tensor:
            depth = self._depth(self._decoded(part, self._modalities[Modality.DEPTH])[:, -1])
            for clip, frames in zip(statistics, depth, strict=True):
                clip.append(FrameDepth.of(frames))
            part_done()
            return depth

        # a first pass decodes and measures all frames, a second one maps them
        depths = FrameStore.of(map(measured, self.parts), self.inputs.frames, 1)
        maps = [
            normalize_clip(FrameDepth.concatenate(clip), pose)
            for clip, pose in zip(statistics, poses, strict=True)
        ]
        for part in self.parts:
            clips = zip(maps, depths[part], strict=True)
            depths[part] = torch.stack([d if to is None else to.apply(d, part) for to, d in clips])
        return depths

    @property
    def _modalities(self) -> tuple[slice, slice]:
        """What is decoded for the video alone and for the depth alone: all, where one latent holds both."""
        return (slice(None), slice(None)) if self.codec.stacked else (slice(0, 1), slice(1, 2))

    def _decoded(self, part: slice, modalities: slice) -> Tensor:
        return decode_frames(self.codec, self.latents, self.reference, part, modalities)

    def _output(self, images: Tensor, frames: slice) -> IdolOutput:
        video = (images[:, Modality.VIDEO] + 1) / 2
        depth = self._depth(images[:, Modality.DEPTH]) if images.shape[1] == len(Modality) else None
        if self.known.images is not None:
            exact = self.known.images[:, frames].to(images.device)
            video, depth = (exact, depth) if self.known.modality == Modality.VIDEO else (video, exact)
        latents = self.known.put_into(self.latents[frames], frames)
        return IdolOutput(video=video, depth=depth, latents=latents)

    def _depth(self, colored: Tensor) -> Tensor:
        """Return the depth (b, n, h, w) of decoded images of it (b, n, 3, h, w)."""
        depth = decolorize_tensor(colored, self.codec.config.colormap)
        if self.inputs.settings.depth_kind == "person":
            # the person's depth starts at the floor: what is well below it is not person
            depth = torch.where(depth < _BACKGROUND, 0, depth.clamp_min(PERSON_FLOOR))
        return depth

    def _with_detail(self, output: IdolOutput, part: slice) -> Tensor:
        device = output.latents.device
        drafts = self.inputs.drafts(part)
        drafts = None if drafts is None else drafts.to(device)
        compositor = Compositor(self.codec, self.inputs.backgrounds(part).to(device), drafts)
        return compositor.apply(output.video, output.depth, self.inputs.settings.detail)
