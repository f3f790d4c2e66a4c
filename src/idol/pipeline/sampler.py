"""Sampling: guidance, overlapping windows, and the loop over the denoising steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from idol.diffusion.schedule import guidance
from idol.errors import UserError
from idol.pipeline.denoiser import Conditions, Denoiser
from idol.pipeline.disk_tensor import FrameStore, PerFrame
from idol.pipeline.known_modality import KnownModality


@dataclass(frozen=True)
class Sampler:
    """Denoises clips of any length.

    With guidance the batch of an evaluation is doubled: first every clip without its person, then every clip
    with it. What belongs to frames is kept once, and doubled for the frames of a window only.

    Attributes:
        denoiser: The networks.
        guidance_scale: Scale of classifier-free guidance; 1 is no guidance, and half the work.
        window: Frames at a time; predictions of overlapping windows are averaged, the more weight the farther
            a frame is from its window's ends. None: all at once.
        overlap: Frames shared by neighboring windows.
    """

    denoiser: Denoiser
    guidance_scale: float = 1.0
    window: int | None = None
    overlap: int = 0

    @property
    def guided(self) -> bool:
        """Whether the network is evaluated with and without the person."""
        return self.guidance_scale != 1

    def prepare(
        self,
        foreground: Float[Tensor, "b n d"],
        unconditional: Float[Tensor, "b n d"] | None,
        background: PerFrame,
        pose: Iterable[Tensor],
        parts: Sequence[slice],
        draft: PerFrame | None = None,
    ) -> Conditions[PerFrame]:
        """Do all work that is the same at every step, a few frames at a time.

        Args:
            foreground: Tokens of the person.
            unconditional: Tokens of no person, with guidance.
            background: Latents of the background, (b, c, h, w) or (b, f, c, h, w).
            pose: What `Denoiser.embed_pose` takes, for each of `parts`.
            parts: Consecutive frames that cover the clips.
            draft: Latents of the draft (b, m, f, c, h, w), where the network takes one.
        """
        denoiser, frames = self.denoiser, parts[-1].stop
        tokens = foreground if unconditional is None else torch.cat([unconditional, foreground])
        context = denoiser.encode_foreground(tokens.to(denoiser.unet.dtype))
        embedding: PerFrame | None = None
        if denoiser.background_control is not None:
            if isinstance(background, Tensor):
                embedding = denoiser.embed_background(background)  # one serves all frames
            else:
                embedded = (denoiser.embed_background(background[part]) for part in parts)
                embedding = FrameStore.of((each for each in embedded if each is not None), frames, 2)
        residuals: tuple[PerFrame, ...] = ()
        if denoiser.control is not None:
            residuals = FrameStore.levels_of(map(denoiser.embed_pose, pose), frames, 2)
        return Conditions(context, background, residuals, embedding, draft)

    def windows(self, frames: int) -> list[slice]:
        """Return the windows of a clip of so many frames."""
        if self.window is None or frames <= self.window:
            return [slice(0, frames)]
        return list(overlapping_windows(frames, self.window, self.overlap))

    def predictions(
        self,
        noisy: Callable[[slice], Float[Tensor, "b m n c h w"]],
        frames: int,
        timesteps: Shaped[Tensor, "b m"],
        conditions: Conditions[PerFrame],
    ) -> Iterator[tuple[slice, Float[Tensor, "b m n c h w"]]]:
        """Yield the guided prediction of a whole clip: frames after frames, each when no window adds to it.

        Frames that have been yielded are not looked at again: the next step's may take their place.

        Args:
            noisy: Returns noisy latents of some of the frames.
            frames: Length of the clips.
            timesteps: Diffusion time of each clip and modality.
            conditions: See `prepare`.

        Yields:
            Frames and what is predicted for them, in float32.
        """
        spans = self.windows(frames)
        if len(spans) == 1:
            yield spans[0], self._predict(noisy(spans[0]), timesteps, conditions, spans[0])
            return
        ramp = torch.arange(1, spans[0].stop + 1, device=timesteps.device)
        weight = torch.minimum(ramp, ramp.flip(0)).float()[:, None, None, None]  # n 1 1 1, a triangle
        # sums of the frames that later windows share: of weighted predictions, and of weights
        total, weights = timesteps.new_zeros(()), weight[:0]
        for span, following in zip_longest(spans, spans[1:]):
            part = weight * self._predict(noisy(span), timesteps, conditions, span)
            part_weights, shared = weight.clone(), len(weights)
            part[:, :, :shared] += total
            part_weights[:shared] += weights
            end = span.stop if following is None else following.start
            done = end - span.start
            yield slice(span.start, end), part[:, :, :done] / part_weights[:done]
            total, weights = part[:, :, done:], part_weights[done:]

    def steps(
        self,
        scheduler: Any,
        latents: FrameStore,
        conditions: Conditions[PerFrame],
        known: KnownModality | None = None,
        *,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
        window_done: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, Tensor]]:
        """Denoise step after step, in place, and yield each step's number and diffusion time when it is done.

        Args:
            scheduler: diffusers' scheduler with its timesteps set; its step counter is left alone.
            latents: Noise (b, m, f, c, h, w); the denoised clips at the end.
            conditions: See `prepare`.
            known: The modality that is not generated, if any.
            precision: Returns the autocast in which networks compute.
            window_done: Called after each window.
        """
        known = known or KnownModality()

        def noisy(frames: slice) -> Tensor:
            return known.put_into(latents[frames], frames)

        for step, t in enumerate(scheduler.timesteps):
            timesteps = known.timesteps(t, *latents.shape[:2])
            with precision():
                for frames, prediction in self.predictions(noisy, latents.frames, timesteps, conditions):
                    stepping = copy(scheduler)  # it counts its steps: all windows take the same one
                    latents[frames] = stepping.step(prediction, t, noisy(frames)).prev_sample
                    window_done()
            scheduler = stepping
            yield step, t

    def _predict(
        self, latents: Tensor, timesteps: Tensor, conditions: Conditions[PerFrame], frames: slice
    ) -> Tensor:
        copies = 2 if self.guided else 1
        shown = conditions.of_frames(frames, copies)
        sample, timesteps = (torch.cat([x] * copies) for x in (latents, timesteps))
        predicted = self.denoiser(sample, timesteps, shown).sample
        if not self.guided:
            return predicted.float()
        unconditional, conditional = predicted.chunk(2)
        return guidance(unconditional, conditional, self.guidance_scale)


def initial_noise(
    shape: tuple[int, ...],
    parts: Sequence[slice],
    generator: torch.Generator | Sequence[torch.Generator] | None,
    scale: float,
    device: torch.device,
) -> FrameStore:
    """Return the noise that clips start from: normal, drawn in float32, clip by clip, modality by modality.

    Args:
        shape: (b, m, f, c, h, w).
        parts: Consecutive frames that cover the clips.
        generator: One per clip, or one for all.
        scale: Standard deviation.
        device: Of the result; noise is drawn on the generator's.

    Raises:
        UserError: If there are other than 1 or b generators.
    """
    b, m, f, *frame = shape
    generators = list(generator) if isinstance(generator, (list, tuple)) else [generator] * b
    if len(generators) != b:
        raise UserError("generator", f"{len(generators)} generators", f"give 1 or {b}")

    def draw(g: Any) -> FrameStore:
        where = None if g is None else g.device
        drawn = (torch.randn(p.stop - p.start, *frame, generator=g, device=where) for p in parts)
        return FrameStore.of(drawn, f, 0)

    # Part by part, this draws the same numbers as one `randn` of a whole modality: a seed's clip does not
    # depend on how many frames are drawn at a time.
    clips = [[draw(g) for _ in range(m)] for g in generators]
    joined = (torch.stack([torch.stack([noise[part] for noise in clip]) for clip in clips]) for part in parts)
    return FrameStore.of((part.to(device) * scale for part in joined), f, 2)


def overlapping_windows(frames: int, window: int, overlap: int) -> Iterator[slice]:
    """Yield windows that cover a clip; the last ends with it.

    Args:
        frames: Length of the clip, at least `window`.
        window: Frames in a window.
        overlap: Least number of frames that neighboring windows share.
    """
    for start in range(0, frames - window, window - overlap):
        yield slice(start, start + window)
    yield slice(frames - window, frames)
