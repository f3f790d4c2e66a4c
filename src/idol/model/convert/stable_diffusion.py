"""Load Stable Diffusion's U-Nets, ControlNets and T2I-Adapters, as diffusers saves them, into our networks.

Every key of a source is either used or named in the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from torch import nn

from idol.errors import UserError
from idol.model.control import PoseAdapter, PoseControlNet
from idol.model.convert.state_dict import UNREADABLE, TransferReport
from idol.model.unet import UnifiedUNet

Network = TypeVar("Network", bound=nn.Module)
Source = TypeVar("Source", bound=ModelMixin)


@dataclass(frozen=True)
class Imported(Generic[Network]):
    """A network made from published weights.

    Attributes:
        network: The network.
        report: What became of the weights.
    """

    network: Network
    report: TransferReport


def load_stable_diffusion(
    source: str | Path, *, motion_adapter: str | Path | None = None, **options: Any
) -> Imported[UnifiedUNet]:
    """Load a U-Net, see `UnifiedUNet.from_unet2d`, from a pipeline folder, a U-Net folder or a hub id.

    Args:
        source: e.g. `lambdalabs/sd-image-variations-diffusers`.
        motion_adapter: folder or hub id of AnimateDiff's weights.
        **options: those of `from_unet2d`.

    Raises:
        UserError: not found, broken, incomplete, or of another kind.
    """
    unet2d, used, unused = _load(UNet2DConditionModel, source, "unet")
    if motion_adapter is not None:
        adapter, more_used, more_unused = _load(MotionAdapter, motion_adapter)
        options["motion_adapter"] = adapter
        used, unused = used + more_used, unused + more_unused
    unet = UnifiedUNet.from_unet2d(unet2d, **options)
    new = tuple(name for name in unet.state_dict() if name not in used)
    return Imported(unet, TransferReport(used, unused, new))


def load_controlnet(source: str | Path, **options: Any) -> Imported[PoseControlNet]:
    """Load a ControlNet, see `PoseControlNet.from_controlnet`.

    Args:
        source: folder or hub id, e.g. `lllyasviel/sd-controlnet-openpose`.
        **options: those of `from_controlnet`.

    Raises:
        UserError: not found, broken, incomplete, or of another kind.
    """
    controlnet, used, unused = _load(ControlNetModel, source)
    control = PoseControlNet.from_controlnet(controlnet, **options)
    return Imported(
        control, TransferReport(used, unused, tuple(n for n in control.state_dict() if n not in used))
    )


def load_t2i_adapter(source: str | Path) -> Imported[PoseAdapter]:
    """Load an adapter of a folder or hub id, e.g. `TencentARC/t2iadapter_openpose_sd14v1`.

    Raises:
        UserError: not found, broken or incomplete.
    """
    adapter, used, unused = _load(T2IAdapter, source)
    return Imported(PoseAdapter.from_t2i_adapter(adapter), TransferReport(used, unused, ()))


def _load(
    kind: type[Source], source: str | Path, subfolder: str | None = None
) -> tuple[Source, tuple[str, ...], tuple[str, ...]]:
    """Return a diffusers network, the keys that filled it, and the keys without a place in it."""
    if subfolder is not None and Path(source).is_dir() and not (Path(source) / subfolder).is_dir():
        subfolder = None  # the folder of the network itself
    try:
        options = {} if subfolder is None else {"subfolder": subfolder}
        network, info = cast(Any, kind).from_pretrained(str(source), output_loading_info=True, **options)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        remedy = f"give a folder or hub id of a {kind.__name__}; hub ids need a network the first time"
        raise UserError(str(source), f"can't be loaded ({reason})", remedy) from None
    if missing := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise UserError(str(source), f"{missing[0]} is missing or misshapen", "download it again")
    used = tuple(network.state_dict())
    return network, used, tuple(info["unexpected_keys"])
