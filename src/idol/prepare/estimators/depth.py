"""A published monocular depth estimator (MiDaS's DPT, Depth Anything, ...) through transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from idol.errors import UserError


class DepthModel:
    """Estimates relative disparity frame by frame.

    Images are resized and normalized here as the model's own preprocessor says, without its code, which may
    need torchvision.

    Args:
        name: Folder, or name on the model hub: `Intel/dpt-hybrid-midas`, `depth-anything/...-hf`.
        device: Where to compute.

    Raises:
        UserError: If there is no such model, it cannot be fetched, or its preprocessor says no size.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        from transformers import AutoModelForDepthEstimation
        from transformers.image_processing_base import ImageProcessingMixin

        try:
            said: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(name)[0]
            model: Any = AutoModelForDepthEstimation.from_pretrained(name)
            self.size = (int(said["size"]["height"]), int(said["size"]["width"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                "depth_estimator.model",
                f"{name} can't be loaded ({reason})",
                "give a folder or hub id of a depth estimation model; hub ids need a network the first time",
            ) from error
        self.model = model.to(device).eval()
        self.mean = torch.tensor(said.get("image_mean", (0.5,) * 3), device=device)[:, None, None]
        self.std = torch.tensor(said.get("image_std", (0.5,) * 3), device=device)[:, None, None]

    @torch.no_grad()
    def estimate(self, frames: UInt8[np.ndarray, "f 3 h w"]) -> Float32[np.ndarray, "f h w"]:
        """Disparity up to scale and shift, larger is nearer."""
        return np.stack([self._of_one(torch.from_numpy(frame)) for frame in frames])

    def _of_one(self, frame: Tensor) -> np.ndarray:
        image = frame[None].to(self.mean.device).float() / 255
        resized = interpolate(image, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        predicted = self.model((resized - self.mean) / self.std).predicted_depth
        back = interpolate(predicted[:, None], frame.shape[-2:], mode="bicubic", align_corners=False)
        return back[0, 0].float().cpu().numpy()
