"""One evaluation of the networks: pose, background and person enter the U-Net here, and nowhere else.

Training, its sample grids and the pipeline all call `Denoiser`. What does not depend on the noisy latents is
computed by `Denoiser.condition` and kept in `Conditions`, so that sampling computes it once for all steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from idol.model.control import PoseAdapter, PoseControlNet
from idol.model.unet import UNetOutput, UnifiedUNet
from idol.model.unet_encoder import Control, ForegroundKV
from idol.pipeline.disk_tensor import PerFrame, of_frames

Value = TypeVar("Value", bound=PerFrame)


class ForegroundContext(NamedTuple):
    """What the foreground attentions of each network attend to: tokens (b, n, d), or their keys and values.

    Attributes:
        unet: For the U-Net.
        control: For the pose's ControlNet; unused without one.
        background_control: For the background's ControlNet; unused without one.
    """

    unet: Tensor | ForegroundKV
    control: Tensor | ForegroundKV | None = None
    background_control: Tensor | ForegroundKV | None = None


@dataclass(frozen=True)
class Conditions(Generic[Value]):
    """Everything that the networks read beside the noisy latents.

    `Value` is `Tensor`, or `PerFrame` while a long clip's conditions lie on disk.

    Attributes:
        foreground: The person, for each network.
        background: Latents (b, c, h, w), or (b, f, c, h, w) if the camera moves.
        pose: The adapter's residuals, one per resolution, or the ControlNet's embedding of the pose, each
            (b, k, f, d, h, w); empty without pose control.
        background_embedding: The background's ControlNet's embedding (b, k, f or 1, d, h, w), or None.
        draft: Latents of the draft (b, m, f, c, h, w), where the U-Net takes one.
    """

    foreground: ForegroundContext
    background: Value
    pose: tuple[Value, ...] = ()
    background_embedding: Value | None = None
    draft: Value | None = None

    def of_frames(self, frames: slice, copies: int = 1) -> Conditions[Tensor]:
        """Return the conditions of some of the frames, as tensors.

        Args:
            frames: Consecutive frames of the clips.
            copies: How often the batch is repeated; the foreground is taken as it is.
        """

        def shown(value: Value) -> Tensor:
            chosen = of_frames(value, frames)
            return chosen if copies == 1 else torch.cat([chosen] * copies)

        embedding, draft = self.background_embedding, self.draft
        return Conditions(
            self.foreground,
            background=shown(self.background),
            pose=tuple(map(shown, self.pose)),
            background_embedding=None if embedding is None else shown(embedding),
            draft=None if draft is None else shown(draft),
        )


@dataclass(frozen=True)
class Denoiser:
    """The U-Net with the networks that steer it.

    Attributes:
        unet: The U-Net.
        control: How the pose enters, or None.
        background_control: How the background enters where the U-Net leaves it to a ControlNet, else None.
    """

    unet: UnifiedUNet
    control: PoseAdapter | PoseControlNet | None = None
    background_control: PoseControlNet | None = None

    @property
    def reads_latent_pose(self) -> bool:
        """Whether the pose control reads the skeletons' latents rather than their images."""
        return isinstance(self.control, PoseControlNet) and self.control.reads_latents

    def condition(
        self,
        tokens: Float[Tensor, "b n d"],
        background: Float[Tensor, "b c h w"] | Float[Tensor, "b f c h w"],
        pose: Tensor | None,
        draft: Float[Tensor, "b m f c h w"] | None = None,
    ) -> Conditions[Tensor]:
        """Return the conditions of a whole clip, differentiable in everything.

        Args:
            tokens: Of the person.
            background: Latents of the background.
            pose: See `embed_pose`.
            draft: Latents of the draft, where the U-Net takes one.
        """
        return Conditions(
            foreground=ForegroundContext(tokens, tokens, tokens),
            background=background,
            pose=self.embed_pose(pose),
            background_embedding=self.embed_background(background),
            draft=draft,
        )

    def encode_foreground(self, tokens: Float[Tensor, "b n d"]) -> ForegroundContext:
        """Return the keys and values of all foreground attentions: one computation per clip, not per step."""
        control = self.control.encode_foreground(tokens) if isinstance(self.control, PoseControlNet) else None
        background = self.background_control
        return ForegroundContext(
            self.unet.encode_foreground(tokens),
            control,
            None if background is None else background.encode_foreground(tokens),
        )

    def embed_pose(self, pose: Tensor | None) -> tuple[Tensor, ...]:
        """Return what enters of the pose, the same at every step: `Conditions.pose`, (b, k, f, d, h, w) each.

        Args:
            pose: Skeleton images (b, f, 3, y, x) in [0, 1], or their latents where the ControlNet reads
                those; ignored without pose control.
        """
        if self.control is None:
            return ()
        assert pose is not None, "pose control reads a pose"
        pose = pose.to(self.unet.dtype)
        if isinstance(self.control, PoseControlNet):
            return (self.control.embed_pose(pose),)
        return self.control(pose).intrablock or ()

    def embed_background(self, background: Tensor) -> Float[Tensor, "b k f d h w"] | None:
        """Return the ControlNet's embedding of background latents, or None without such a ControlNet."""
        if self.background_control is None:
            return None
        frames = background if background.ndim == 5 else background[:, None]  # b (f or 1) c h w
        return self.background_control.embed_pose(frames.to(self.background_control.dtype))

    def __call__(
        self,
        sample: Float[Tensor, "b m f c h w"],
        timesteps: Shaped[Tensor, "b m"],
        conditions: Conditions[Tensor],
        return_features: bool = False,
    ) -> UNetOutput:
        """Predict from noisy latents.

        Args:
            sample: Noisy latents.
            timesteps: Diffusion time of each clip and modality.
            conditions: Of the same frames.
            return_features: Also return what the consistency losses read.
        """
        # weights may be bfloat16 while latents are float32
        dtype, person = self.unet.dtype, conditions.foreground
        sample = sample.to(dtype)
        control: Control | None = None  # residuals of pose and background
        if isinstance(self.control, PoseAdapter):
            control = Control(intrablock=conditions.pose)
        elif self.control is not None:
            (embedded,) = conditions.pose
            control = self.control(sample, timesteps, person.control, pose_embedded=embedded)
        if self.background_control is not None:
            own = self.background_control(
                sample,
                timesteps,
                person.background_control,
                pose_embedded=conditions.background_embedding,
            )
            control = own if control is None else control + own
        background = conditions.background.to(dtype)
        draft = None if conditions.draft is None else conditions.draft.to(dtype)
        return self.unet(sample, timesteps, person.unet, background, control, return_features, draft=draft)
