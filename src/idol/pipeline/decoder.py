"""From denoised latents to images, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from idol.clip.depth import PERSON_FLOOR, decolorize_tensor
from idol.diffusion.latents import LatentCodec
from idol.pipeline.compositing import KnownImages
from idol.pipeline.config import IdolOutput
from idol.pipeline.depth_normalization import FrameDepth, whole_clip
from idol.pipeline.disk_tensor import FrameStore, PerFrame, of_frames
from idol.pipeline.frame_conditions import FrameSequence
from idol.pipeline.known_modality import Given

_NOBODY = 0.75 * PERSON_FLOOR
"""Depth below which nobody is there; half the floor lets more haze in. On validation clips silhouettes were
nearest to the true ones here."""


@torch.no_grad()
def decode_frames(
    codec: LatentCodec,
    latents: FrameStore,
    reference: PerFrame,
    frames: slice,
    streams: slice = slice(None),
) -> Float[Tensor, "b p n 3 h w"]:
    """Images of some of the frames; see `LatentCodec.decode`."""
    own = latents[frames]
    return codec.decode(own, of_frames(reference, frames), own.shape[2], streams)


@dataclass(frozen=True)
class Decoder:
    """The clips of a batch, whose latents are finished.

    Attributes:
        codec: Of their latents.
        latents: (b, m, f, c, h', w').
        reference: As for `LatentCodec.decode`.
        sequence: What steered them.
        given: The modality that was not generated, if any.
        parts: Frames that are decoded at a time.
    """

    codec: LatentCodec
    latents: FrameStore
    reference: PerFrame
    sequence: FrameSequence
    given: Given
    parts: list[slice]

    @torch.no_grad()
    def outputs(self, depth: FrameStore | None = None) -> Iterator[IdolOutput]:
        """Part after part. `depth` (b, f, h, w), where it is there already, is not decoded again."""
        streams = slice(None) if depth is None else self._streams[0]
        for part in self.parts:
            output = self._output(self._decoded(part, streams), part)
            output.depth = output.depth if depth is None else depth[part]
            if self.sequence.settings.detail != "none" and self.given.modality != 0:
                output.video = self._with_detail(output, part)
            yield output

    @torch.no_grad()
    def whole_clip_depth(self, looked: Callable[[], None] = lambda: None) -> FrameStore | None:
        """Depth of clips that were made in windows, in one normalization for each clip (`model.clip_depth`).

        Args:
            looked: Called after each part.

        Returns:
            (b, f, h, w); None if the depth is not generated or not of a person alone, or joints are unknown.
        """
        settings, poses = self.sequence.settings, self.sequence.targets()
        has_depth = self.codec.stacked or len(self.codec.config.scale) == 2
        if not has_depth or poses is None or self.given.modality == 1 or settings.depth_kind != "person":
            return None
        found: list[list[FrameDepth]] = [[] for _ in poses]

        def look(part: slice) -> Tensor:
            depth = self._depth(self._decoded(part, self._streams[1])[:, -1])
            for measured, frames in zip(found, depth, strict=True):
                measured.append(FrameDepth.of(frames))
            looked()
            return depth

        depths = FrameStore.of(map(look, self.parts), self.sequence.frames, 1)
        maps = [whole_clip(FrameDepth.joined(of), pose) for of, pose in zip(found, poses, strict=True)]
        for part in self.parts:
            of_clips = zip(maps, depths[part], strict=True)
            depths[part] = torch.stack([d if to is None else to.put_on(d, part) for to, d in of_clips])
        return depths

    @property
    def _streams(self) -> tuple[slice, slice]:
        """What is decoded for the video alone and for the depth alone: all, where one latent holds both."""
        return (slice(None), slice(None)) if self.codec.stacked else (slice(0, 1), slice(1, 2))

    def _decoded(self, part: slice, streams: slice) -> Tensor:
        return decode_frames(self.codec, self.latents, self.reference, part, streams)

    def _output(self, images: Tensor, frames: slice) -> IdolOutput:
        video = (images[:, 0] + 1) / 2
        depth = self._depth(images[:, 1]) if images.shape[1] == 2 else None
        given = self.given.images
        if given is not None:
            own = given[:, frames].to(images.device)
            video, depth = (own, depth) if self.given.modality == 0 else (video, own)
        latents = self.given.put_into(self.latents[frames], frames)
        return IdolOutput(video=video, depth=depth, latents=latents)

    def _depth(self, colored: Tensor) -> Tensor:
        """Depth (b, n, h, w) of decoded images of it (b, n, 3, h, w)."""
        depth = decolorize_tensor(colored, self.codec.config.colormap)
        if self.sequence.settings.depth_kind == "person":
            # the person's depth starts at the floor: what is well below it is not person
            depth = torch.where(depth < _NOBODY, 0, depth.clamp_min(PERSON_FLOOR))
        return depth

    def _with_detail(self, output: IdolOutput, part: slice) -> Tensor:
        device = output.latents.device
        drafts = self.sequence.drafts(part)
        drafts = None if drafts is None else drafts.to(device)
        known = KnownImages(self.codec, self.sequence.plates(part).to(device), drafts)
        return known.put_back(output.video, output.depth, self.sequence.settings.detail)
