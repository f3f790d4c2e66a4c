"""Weight files with random numbers, in the layout of the published ones."""

from collections.abc import Iterator
from pathlib import Path

import torch


def resnet3d_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the 3-D ResNet-50's file, written down from its paper and not from our module."""
    yield "conv1", (64, 3, 7, 7, 7)
    yield "bn1", (64,)
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        inner = 32 * 2**stage
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            kernels = ((inner, channels, 1, 1, 1), (inner, inner, 3, 3, 3), (4 * inner, inner, 1, 1, 1))
            for number, kernel in enumerate(kernels, 1):
                yield f"{name}.conv{number}", kernel
                yield f"{name}.bn{number}", kernel[:1]
            if block == 0:
                yield f"{name}.downsample.0", (4 * inner, channels, 1, 1, 1)
                yield f"{name}.downsample.1", (4 * inner,)
            channels = 4 * inner
    yield "fc", (400, 2048)


def resnet3d_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors by name; all kernels are stretches of one, so that the file stays small."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(8_000_000, generator=generator)
    state: dict[str, torch.Tensor] = {}

    def take(shape: tuple[int, ...]) -> torch.Tensor:
        start = int(torch.randint(900_000, (), generator=generator))
        return numbers[start : start + torch.Size(shape).numel()].view(shape)

    variance = 0.0  # of what reaches the normalization: its inputs are about 1, those of the first about 70
    for name, shape in resnet3d_shapes():
        if len(shape) == 1:
            state |= {f"{name}.weight": 1 + take(shape) / 10, f"{name}.bias": take(shape) / 2}
            state[f"{name}.running_mean"] = take(shape) * variance**0.5 / 2
            state[f"{name}.running_var"] = variance * (1 + take(shape).abs())
        else:
            state[f"{name}.weight"] = take(shape)
            variance = torch.Size(shape[1:]).numel() * (70**2 if name == "conv1" else 1)
    return state | {"fc.bias": take((400,))}


def write_resnet3d(path: Path, state: dict[str, torch.Tensor] | None = None) -> Path:
    """The state (default a random one) as training on several GPUs would have saved it."""
    state = resnet3d_state() if state is None else state
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path
