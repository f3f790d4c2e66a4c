"""Published monocular depth estimators (MiDaS DPT, Depth Anything, ...) through transformers."""

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

    Frames are resized and normalized as the model's preprocessor configuration states, but without its code,
    which may need torchvision.

    Args:
        name: Folder of the model, or its id on the hub, such as `Intel/dpt-hybrid-midas`.
        device: Torch device to compute on.

    Raises:
        UserError: If the model cannot be found or downloaded, or its preprocessor configuration states no
            size.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        from transformers import AutoModelForDepthEstimation
        from transformers.image_processing_base import ImageProcessingMixin

        try:
            preprocessor: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(name)[0]
            model: Any = AutoModelForDepthEstimation.from_pretrained(name)
            self.size = (int(preprocessor["size"]["height"]), int(preprocessor["size"]["width"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                "depth_estimator.model",
                f"{name} can't be loaded ({reason})",
                "give a folder or hub id of a depth estimation model; hub ids need a network the first time",
            ) from error
        self.model = model.to(device).eval()
        self.mean = torch.tensor(preprocessor.get("image_mean", (0.5,) * 3), device=device)[:, None, None]
        self.std = torch.tensor(preprocessor.get("image_std", (0.5,) * 3), device=device)[:, None, None]

    @torch.no_grad()
    def estimate(self, frames: UInt8[np.ndarray, "f 3 h w"]) -> Float32[np.ndarray, "f h w"]:
        """Estimate disparity up to scale and shift; larger is nearer.

        Args:
            frames: (f, 3, h, w) uint8 sRGB.

        Returns:
            (f, h, w) float32.
        """
        return np.stack([self._estimate_frame(torch.from_numpy(frame)) for frame in frames])

    def _estimate_frame(self, frame: Tensor) -> np.ndarray:
        image = frame[None].to(self.mean.device).float() / 255
        resized = interpolate(image, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        predicted = self.model((resized - self.mean) / self.std).predicted_depth
        # Bicubic like the models' own post-processing.
        back = interpolate(predicted[:, None], frame.shape[-2:], mode="bicubic", align_corners=False)
        return back[0, 0].float().cpu().numpy()
