"""Sizes and random weights of the tiny networks that the tests compare."""

import inspect

import torch

from idol.model import PoseControlNet, UnifiedUNet
from idol.model.convert.state_dict import transfer

TINY = dict(
    block_out_channels=(16, 32, 32),
    layers_per_block=1,
    cross_attention_dim=12,
    attention_head_dim=2,
    norm_num_groups=8,
)


def randomize(network, seed=0, scale=0.3):
    """Give every weight, the zero-initialized ones too, a random value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(noise * scale * (4 / fan_in) ** 0.5 + (parameter.ndim == 1) * 0.5)
    return network.eval()


def count_with(**options):
    """Count the parameters of a U-Net of these options and its ControlNet, without allocating them."""
    with torch.device("meta"):
        unet = UnifiedUNet(**options)
        control = PoseControlNet(shared=unet.config["coupling"] == "shared")
    return sum(p.numel() for network in (unet, control) for p in network.parameters())


def rebuilt(network, **changes):
    """A copy of another config, with the weights that both have; those of added layers are initialized."""
    names = inspect.signature(type(network).__init__).parameters.keys() - {"self"}
    copy = type(network)(**{name: network.config[name] for name in names} | changes)
    transfer(copy, network.state_dict())
    return copy
