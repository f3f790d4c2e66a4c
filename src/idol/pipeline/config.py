"""Defaults of a checkpoint's pipeline, and what a pipeline returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from idol.pipeline.compositing import Detail
from idol.pipeline.image_inputs import SkeletonStyle
from idol.pose.skeleton import Parts


@dataclass(frozen=True)
class GenerationConfig:
    """Defaults of a checkpoint: those that its training settled, and those that a call may override.

    Attributes:
        height: Of the frames, pixels.
        width: Of the frames, pixels.
        num_inference_steps: Denoising steps.
        guidance_scale: Scale of classifier-free guidance on the foreground; 1 is none.
        window: Frames denoised at a time; longer clips are covered by overlapping windows. None: all at once.
        overlap: Frames shared by neighboring windows.
        stick_width: Half the thickness of a drawn limb, pixels.
        radius: Of a drawn joint, pixels.
        draw_at: Whether those pixels are the pose's own or the model's (`skeleton.draw`).
        pose_parts: Whether hands and face are drawn, too.
        foreground_size: Side of the person's crop, pixels.
        foreground_margin: Room round the person in the crop, as a share of the person's box.
        depth_kind: "person": depth is exactly 0 outside the person; "scene": depth of everything.
        autocast: Compute U-Net and pose control in bfloat16; None does where the processor has instructions
            for it. Autoencoder and noise are always float32.
        detail: How known detail of background and draft is used (`idol.pipeline.compositing`).
    """

    height: int = 256
    width: int = 256
    num_inference_steps: int = 50
    guidance_scale: float = 1.5
    window: int | None = None
    overlap: int = 4
    stick_width: float = 4.0
    radius: float = 4.0
    draw_at: Literal["source", "model"] = "source"
    pose_parts: Parts = "body"
    foreground_size: int = 224
    foreground_margin: float = 0.1
    depth_kind: Literal["person", "scene"] = "person"
    autocast: bool | None = None
    detail: Detail = "none"

    def __post_init__(self) -> None:
        if self.window is not None and not 0 <= self.overlap < self.window:
            raise ValueError(f"overlap {self.overlap} must be at least 0 and less than window {self.window}")

    @property
    def skeleton_style(self) -> SkeletonStyle:
        """How skeletons are drawn."""
        return SkeletonStyle(self.stick_width, self.radius, self.draw_at, self.pose_parts)

    def precision(self, device: torch.device) -> torch.autocast:
        """Return the autocast context in which U-Net and pose control compute."""
        fast = _has_bfloat16(device.type) if self.autocast is None else self.autocast
        return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def _has_bfloat16(device: str) -> bool:
    """Return whether bfloat16 is faster than float32: on a CPU without instructions for it, it is slower."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # nothing public asks
    )


@dataclass
class IdolOutput(BaseOutput):
    """What the pipeline returns.

    Attributes:
        video: (b, f, 3, h, w) in [0, 1].
        depth: (b, f, h, w) in [0, 1], larger is nearer; None from a network of one modality.
        latents: (b, m, f, c, h', w') as denoised.
    """

    video: Tensor | np.ndarray
    depth: Tensor | np.ndarray | None
    latents: Tensor


def concatenate(parts: Sequence[IdolOutput]) -> IdolOutput:
    """Concatenate outputs of consecutive frames."""
    depth = [part.depth for part in parts if part.depth is not None]
    return IdolOutput(
        video=torch.cat([torch.as_tensor(part.video) for part in parts], 1),
        depth=torch.cat([torch.as_tensor(part) for part in depth], 1) if depth else None,
        latents=torch.cat([part.latents for part in parts], 2),
    )


def as_numpy(output: IdolOutput) -> IdolOutput:
    """Return the same output with images as arrays."""
    depth = output.depth.cpu().numpy() if isinstance(output.depth, Tensor) else output.depth
    video = output.video.cpu().numpy() if isinstance(output.video, Tensor) else output.video
    return IdolOutput(video=video, depth=depth, latents=output.latents)
