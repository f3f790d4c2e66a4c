"""The losses against literal loops of Eqs. 2-7, gradients included."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from idol.diffusion.losses import (
    LossConfig,
    attention_map_consistency,
    denoising,
    motion_consistency,
    motion_field,
    total,
)


def streams(b=2, f=3, p=5, d=4, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(b, f, p, d, generator=generator, dtype=dtype, requires_grad=True) for _ in range(2)
    )


def literal_field(a, b, tau):
    """Eqs. 3 and 4, one number at a time."""
    rows = []
    for i in range(a.shape[0]):
        costs = [a[i] @ b[j] / (a[i].norm() * b[j].norm()) for j in range(b.shape[0])]
        powers = [(c / tau).exp() for c in costs]
        rows.append(torch.stack([power / sum(powers) for power in powers]))
    return torch.stack(rows)


def literal_motion(video, depth, tau):
    """Eq. 5, averaged over the batch and the pairs of frames."""
    b, f, p, _ = video.shape
    loss = 0
    for clip in range(b):
        for frame in range(f - 1):
            u_v = literal_field(video[clip, frame], video[clip, frame + 1], tau)
            u_d = literal_field(depth[clip, frame], depth[clip, frame + 1], tau)
            for i in range(p):
                for j in range(p):
                    loss = loss + (u_v[i, j] - u_d[i, j]) ** 2
    return loss / (b * (f - 1) * p * p)


def with_gradients(function, *inputs):
    value = function(*inputs)
    return value, torch.autograd.grad(value, inputs)


def test_motion_field_is_eqs_3_and_4():
    a, b = torch.randn(7, 6), torch.randn(7, 6)
    for tau in (None, 0.1):
        field = motion_field(a, b, tau)
        assert_close(field, literal_field(a, b, tau or 1 / math.sqrt(6)))
        assert_close(field.sum(-1), torch.ones(7))


def test_motion_field_finds_a_shift():
    """Features that move by two places move the peak of the field by two places."""
    a = torch.randn(9, 32)
    field = motion_field(a, a.roll(2, 0), tau=0.05)
    assert torch.equal(field.argmax(-1), (torch.arange(9) + 2) % 9)


@pytest.mark.parametrize("tau", [None, 0.07])
def test_motion_consistency_is_eq_5(tau):
    video, depth = streams()
    value, gradients = with_gradients(lambda v, d: motion_consistency(v, d, tau), video, depth)
    expected, expected_gradients = with_gradients(lambda v, d: literal_motion(v, d, tau or 0.5), video, depth)
    assert value.dtype == torch.float32
    assert_close(value, expected.float(), rtol=1e-5, atol=1e-8)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert theirs.abs().max() > 0
        assert_close(ours, theirs, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("chunk", [1, 2, 4, 100])
def test_chunked_equals_plain(chunk):
    video, depth = streams(p=6, dtype=torch.float32)
    plain, plain_gradients = with_gradients(motion_consistency, video, depth)
    chunked, gradients = with_gradients(lambda v, d: motion_consistency(v, d, chunk=chunk), video, depth)
    assert_close(chunked, plain)
    assert_close(gradients, plain_gradients)


def saved_elements(loss):
    """The largest tensor kept for the backward pass, in elements."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (sizes.append(x.numel()), x)[1], lambda x: x):
        value = loss()
    return max(sizes), value


def test_chunked_memory_does_not_grow_with_p_squared():
    """Neither what is kept for the backward pass nor what is made during it is as large as one field."""
    video, depth = streams(b=1, f=2, p=256, d=4, dtype=torch.float32)
    plain, _ = saved_elements(lambda: motion_consistency(video, depth))
    chunked, value = saved_elements(lambda: motion_consistency(video, depth, chunk=8))
    assert plain >= 256 * 256
    assert chunked <= 256 * 8

    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            for x in out if isinstance(out, (tuple, list)) else (out,):
                largest = max(largest, x.numel() if isinstance(x, torch.Tensor) else 0)
            return out

    with Watch():
        motion_consistency(video, depth, chunk=8).backward()
    assert largest <= 256 * 8


def test_identical_streams_give_exactly_zero():
    video, _ = streams(dtype=torch.float32)
    maps = torch.rand(2, 3, 2, 5, 7)
    assert motion_consistency(video, video.clone()).item() == 0
    assert motion_consistency(video, video.clone(), chunk=2).item() == 0
    assert attention_map_consistency(maps, maps.clone()).item() == 0


def test_one_frame_has_no_motion():
    video, depth = streams(f=1)
    value, gradients = with_gradients(motion_consistency, video, depth)
    assert value.item() == 0 and all(g.abs().max() == 0 for g in gradients)


def test_motion_ignores_the_scale_of_the_features():
    video, depth = streams(dtype=torch.float32)
    assert_close(motion_consistency(video, depth), motion_consistency(3 * video, 0.2 * depth))


def test_attention_map_consistency_is_eq_6():
    video, depth = (torch.rand(2, 3, 2, 4, 5, dtype=torch.float64).requires_grad_() for _ in range(2))
    value, gradients = with_gradients(attention_map_consistency, video, depth)
    expected, count = 0, 0
    for v, d in zip(video.flatten(), depth.flatten(), strict=True):
        expected, count = expected + (v - d) ** 2, count + 1
    assert_close(value.double(), expected / count, rtol=1e-5, atol=1e-8)
    assert_close(gradients[0], 2 * (video - depth).detach() / count, rtol=1e-4, atol=1e-8)
    assert_close(gradients[1], -gradients[0])


def test_denoising_is_eq_2_averaged():
    prediction, target = torch.randn(2, 2, 3, 4, 5, 5), torch.randn(2, 2, 3, 4, 5, 5)
    per_modality = [(prediction[:, m] - target[:, m]).square().mean() for m in range(2)]
    assert_close(denoising(prediction, target), sum(per_modality) / 2)
    weight = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    expected = (prediction - target).square().mean((2, 3, 4, 5))
    assert_close(denoising(prediction, target, weight), (expected[0, 0] + 3 * expected[1, 1]) / 4)
    assert_close(denoising(prediction, target, torch.tensor([2.0, 2.0])), 2 * denoising(prediction, target))
    full = torch.rand(2, 1, 3, 1, 5, 5)
    assert_close(denoising(prediction, target, full), (full * (prediction - target).square()).mean())


def block(p=5, m=2):
    return SimpleNamespace(
        self_attention=torch.randn(2, m, 3, p, 4, requires_grad=True),
        cross_attention=torch.rand(2, m, 3, 2, p, 6).requires_grad_(),
    )


def test_total_is_eq_7():
    prediction, target = torch.randn(2, 2, 3, 4, 5, 5), torch.randn(2, 2, 3, 4, 5, 5)
    blocks = [block(4), block(9)]
    config = LossConfig(w_mo=0.3, w_xattn=0.7, tau=0.2, chunk=3)
    terms = total(prediction, target, blocks, config)
    motion = sum(motion_consistency(*x.self_attention.unbind(1), tau=0.2) for x in blocks)
    maps = sum(attention_map_consistency(*x.cross_attention.unbind(1)) for x in blocks)
    assert_close(terms.motion, motion)
    assert_close(terms.attention_map, maps)
    assert_close(terms.total, denoising(prediction, target) + 0.3 * motion + 0.7 * maps)
    terms.total.backward()
    for x in blocks:
        for gradient in (x.self_attention.grad, x.cross_attention.grad):
            assert (gradient.abs().amax((0, 2, 3, 4, *range(5, gradient.ndim))) > 0).all()  # both streams


def test_total_without_features_is_denoising_alone():
    prediction, target = torch.randn(1, 1, 1, 4, 5, 5), torch.randn(1, 1, 1, 4, 5, 5)
    terms = total(prediction, target)
    assert terms.total == terms.denoising and terms.motion == 0 and terms.attention_map == 0


def test_zero_weights_leave_the_terms_out():
    terms = total(torch.zeros(2, 2, 1), torch.zeros(2, 2, 1), [block()], LossConfig(w_mo=0.0, w_xattn=0.0))
    assert terms.total == 0 and terms.motion == 0 and terms.attention_map == 0


def test_consistency_of_one_modality_is_refused():
    with pytest.raises(ValueError, match="2 modalities"):
        total(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1), [block(m=1)])


def test_losses_are_float32_under_autocast():
    video, depth = streams(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = motion_consistency(video, depth)
    assert_close(inside, motion_consistency(video, depth), rtol=0, atol=0)
