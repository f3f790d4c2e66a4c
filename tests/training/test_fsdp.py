"""Tensors that are split over processes: each holds its part, and all together the whole."""

import pytest
import torch
from accelerate import Accelerator, DistributedType

from idol.errors import UserError
from idol.training.checkpoint import load_optimizer, optimizer_tensors
from idol.training.fsdp import gather, is_sharded, local, shard, shard_like
from idol.training.optimizer import EMA, OptimizerConfig, build_optimizer
from support.training_runs import in_two_processes


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3, bias=False))


def stepped(module, optimizer, average):
    """A step on sample_indices that are the same in every process."""
    torch.manual_seed(1)
    module(torch.randn(5, 6)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    average.update(0)


def examined():
    accelerator = Accelerator(cpu=True)
    assert is_sharded(accelerator)
    alone, module = network(), network()
    averages = EMA(alone, 0.9), EMA(module, 0.9)
    shard(module, accelerator)
    shard(averages[1].module, accelerator)
    parameters = list(module.parameters())
    held = sum(local(p).numel() for p in parameters)
    assert held < 0.65 * sum(p.numel() for p in alone.parameters())  # 7 rows are 4 and 3
    optimizers = [build_optimizer(list(m.parameters()), OptimizerConfig(lr=0.1)) for m in (alone, module)]
    for each in zip((alone, module), optimizers, averages, strict=True):
        stepped(*each)
    pairs = [
        (alone.state_dict(), module.state_dict()),
        (averages[0].module.state_dict(), averages[1].module.state_dict()),
        tuple(map(optimizer_tensors, optimizers)),
    ]
    for expected, parts in pairs:
        full = gather(parts, keep=accelerator.is_main_process)
        assert set(full) == (set(expected) if accelerator.is_main_process else set())
        for name in full:
            torch.testing.assert_close(full[name], expected[name])
    again = build_optimizer(parameters, OptimizerConfig(lr=0.1))
    load_optimizer(again, optimizer_tensors(optimizers[0]))
    for parameter in parameters:
        for name in ("exp_avg", "exp_avg_sq"):
            restored, kept = (o.state[parameter][name] for o in (again, optimizers[1]))
            torch.testing.assert_close(local(restored), local(kept))


def test_each_of_two_processes_holds_its_part():
    in_two_processes(examined, ACCELERATE_USE_FSDP="true")


def test_what_is_not_split_is_the_whole():
    tensors = {"a": torch.randn(3)}
    assert gather(tensors, keep=True)["a"] is tensors["a"] and gather(tensors, keep=False) == {}
    assert local(tensors["a"]) is tensors["a"]
    parameter = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    value = torch.randn(2, 3, 4, 5)
    laid = shard_like(value, parameter)
    assert torch.equal(laid, value) and laid.stride() == parameter.stride()


def test_other_ways_of_splitting_are_told():
    class Elsewhere:  # accelerate itself would load DeepSpeed, which is not at hand
        distributed_type, num_processes = DistributedType.DEEPSPEED, 2

    with pytest.raises(UserError, match="--use_fsdp"):
        is_sharded(Elsewhere())
