"""Copy weights into a network, with a report on every one of them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from idol.errors import UserError

UNREADABLE = (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError)
"""What readers of weight files raise for a file that is broken or of another kind."""
# The only weights that may be larger than their source: the new part is initialized to zero.
GROWING = ("conv_in.weight", "modality_embedding.weight")


@dataclass(frozen=True)
class TransferReport:
    """What became of the weights of a checkpoint.

    Attributes:
        used: source keys that were copied.
        unused: source keys that the network does not have.
        new: weights of the network that the source does not have; they keep their initial values.
    """

    used: tuple[str, ...]
    unused: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.used)} weights used, {len(self.unused)} not used, {len(self.new)} new"]
        lines += [f"not used: {name}" for name in self.unused]
        return "\n".join(lines)


@torch.no_grad()
def transfer(network: nn.Module, weights: Mapping[str, Tensor], strict: bool = False) -> TransferReport:
    """Copy `weights` into `network` by name.

    Args:
        network: filled in place.
        weights: tensors by the network's own names.
        strict: refuse weights that the network does not have.

    Raises:
        UserError: shapes differ, or (strict) the network does not have a weight.
    """
    places = network.state_dict()
    used = [name for name in weights if name in places]
    unused = [name for name in weights if name not in places]
    if unused and strict:
        raise UserError("weights", f"{unused[0]} has no place", "give a network that fits")
    for name in used:
        _copy(name, places[name], weights[name])
    return TransferReport(tuple(used), tuple(unused), tuple(name for name in places if name not in weights))


def for_copies(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights by the names of a network that may have a copy of each layer for every modality.

    Args:
        weights: by the names of a network without copies.
        network: which may have copies (`PerModality`).
    """
    places = {name: re.sub(r"\.copies\.\d+", "", name) for name in network.state_dict()}
    named = {name: weights[source] for name, source in places.items() if source in weights}
    return named | {name: weight for name, weight in weights.items() if name not in places.values()}


def _copy(name: str, place: Tensor, weight: Tensor) -> None:
    if place.shape == weight.shape:
        place.copy_(weight)
        return
    fits = len(place.shape) == len(weight.shape) and all(
        a >= b for a, b in zip(place.shape, weight.shape, strict=True)
    )
    if re.sub(r"\.copies\.\d+", "", name) not in GROWING or not fits:
        found, expected = tuple(weight.shape), tuple(place.shape)
        raise UserError("weights", f"{name} has shape {found}, not {expected}", "give weights that fit")
    place.zero_()
    place[tuple(slice(n) for n in weight.shape)] = weight
