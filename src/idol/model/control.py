"""Pose control: a ControlNet or a T2I-Adapter, behind one kind of result, `Control`."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.adapter import T2IAdapter
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor

from idol.model.unet import Control


class PoseAdapter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A T2I-Adapter that reads the skeleton images; its result serves both modalities and every step.

    Args:
        in_channels: channels of the skeleton image.
        channels: width at each resolution of the U-Net it steers.
        num_res_blocks: residual blocks per resolution.
        downscale_factor: pixels of the skeleton image per latent, a power of two.
        adapter_type: kind of T2I-Adapter (diffusers' name).
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
        downscale_factor: int = 8,
        adapter_type: str = "full_adapter",
    ) -> None:
        super().__init__()
        self.adapter = T2IAdapter(in_channels, list(channels), num_res_blocks, downscale_factor, adapter_type)

    @classmethod
    def from_t2i_adapter(cls, adapter: T2IAdapter) -> PoseAdapter:
        """Wrap a diffusers adapter (its weights are shared, not copied)."""
        names = ("in_channels", "channels", "num_res_blocks", "downscale_factor", "adapter_type")
        pose_adapter = cls(**{name: adapter.config[name] for name in names})
        pose_adapter.adapter = adapter
        return pose_adapter

    def forward(self, pose: Float[Tensor, "b f c h w"]) -> Control:
        """Residuals of skeleton images in [0, 1]."""
        b = pose.shape[0]
        features = self.adapter(pose.flatten(0, 1))
        return Control(intrablock=tuple(x.unflatten(0, (b, 1, -1)) for x in features))
