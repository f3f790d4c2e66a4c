"""The compared couplings of the two streams: separate networks, and MM-Diffusion's random-shift attention."""

import dataclasses

import pytest
import torch

from idol.model import PoseAdapter, PoseControlNet, UnifiedUNet
from idol.model.modality import ClipShape
from idol.model.random_shift import RandomShiftAttention
from support.tiny_networks import TINY, count_with, randomize

OPTIONS = {**TINY, "attention": (True, True, False)}


def build(coupling, seed=1, **options):
    return randomize(UnifiedUNet(**{**OPTIONS, "coupling": coupling, **options}), seed=seed)


def alone(network, kind, m, **options):
    """The copies of modality `m` as a network of that modality."""
    single = kind(**{**OPTIONS, "num_modalities": 1, **options}).eval()
    weights = {name.replace(f".copies.{m}.", "."): w for name, w in network.state_dict().items()}
    weights = {name: w for name, w in weights.items() if ".copies." not in name}
    weights["modality_embedding.weight"] = weights["modality_embedding.weight"][m : m + 1]
    single.load_state_dict(weights)
    return single


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["handcrafted", "animatediff"])
def test_separate_networks_are_two_networks(inputs, temporal):
    sample, time, foreground, background, pose = inputs
    unet = build("separate", temporal=temporal, motion_heads=2)
    control = randomize(PoseControlNet.from_unet(unet), seed=5)
    assert not control.config["shared"] and any(".copies.1." in name for name in control.state_dict())
    out = unet(sample, time, foreground, background, control(sample, time, foreground, pose), True)
    for m in range(2):
        own = alone(unet, UnifiedUNet, m, temporal=temporal, motion_heads=2)
        temporal_control = "handcrafted" if temporal == "handcrafted" else None
        steers = alone(control, PoseControlNet, m, temporal=temporal_control)
        stream = sample[:, m : m + 1]
        steered = steers(stream, time, foreground, pose)
        expected = own(stream, time, foreground, background, steered, return_features=True)
        torch.testing.assert_close(out.sample[:, m : m + 1], expected.sample)
        for joint, single in zip(out.features, expected.features, strict=True):
            torch.testing.assert_close(joint.cross_attention[:, m : m + 1], single.cross_attention)
            torch.testing.assert_close(joint.self_attention[:, m : m + 1], single.self_attention)


def test_each_stream_has_an_adapter_of_its_own(inputs):
    pose = inputs[-1]
    sizes = {"channels": TINY["block_out_channels"], "num_res_blocks": 1}
    adapter = randomize(PoseAdapter(**sizes, modalities=2))
    both = adapter(pose).intrablock
    for m in range(2):
        single = PoseAdapter(**sizes)
        single.adapter.load_state_dict(adapter.adapter.copies[m].state_dict())
        for x, y in zip(both, single(pose).intrablock, strict=True):
            torch.testing.assert_close(x[:, m : m + 1], y)


def test_random_shift_attention_equals_the_literal_loop():
    torch.manual_seed(0)
    b, f, c, h, w = 2, 5, 8, 2, 3
    layer = randomize(RandomShiftAttention(c, heads=2, window=2))
    x = torch.randn(b * 2 * f, c, h, w)
    for shift in (0.0, 0.3, 0.99):
        clip = dataclasses.replace(ClipShape(b, 2, f), shift=shift)
        first = int(shift * 4)  # 0, 1, 3 of the four that fit
        tokens = clip.unfold(x.flatten(2).transpose(1, 2))
        expected = tokens.clone()
        for i in range(b):
            for m in range(2):
                attn = layer.attns[m]
                for frame in range(f):
                    q = attn.to_q(layer.norms[m](tokens[i, m, frame]))
                    seen = [layer.norms[1 - m](tokens[i, 1 - m, (frame + first + j) % f]) for j in range(2)]
                    k, v = attn.to_k(torch.cat(seen)), attn.to_v(torch.cat(seen))
                    heads = [
                        (q[:, p] @ k[:, p].T / 2).softmax(-1) @ v[:, p] for p in (slice(0, 4), slice(4, 8))
                    ]
                    expected[i, m, frame] += attn.to_out[0](torch.cat(heads, 1))
        out = clip.unfold(layer(x, clip).flatten(2).transpose(1, 2))
        torch.testing.assert_close(out, expected)


@pytest.mark.slow
def test_streams_meet_in_the_middle_block_over_all_frames(inputs):
    sample, time, foreground, _, _ = inputs
    other = sample.clone()
    other[:, 1, 2] += 1
    apart = build("separate", temporal=None)
    one, two = (apart(x, time, foreground).sample[:, 0] for x in (sample, other))
    assert torch.equal(one, two)
    meeting = build("random_shift", temporal=None)
    one, two = (meeting(x, time, foreground).sample[:, 0] for x in (sample, other))
    assert ((one - two).abs().amax((0, 2, 3, 4)) > 1e-4).all()  # every frame of the other stream


@pytest.mark.slow
def test_the_shift_is_the_times_own(inputs):
    sample, time, foreground, _, _ = inputs
    unet = build("random_shift")
    shifts = {unet._shift(torch.tensor([t])) for t in (1.0, 17.0, 400.0, 801.0)}
    assert len(shifts) == 4 and all(0 <= s < 1 for s in shifts)
    assert torch.equal(unet(sample, time, foreground).sample, unet(sample, time, foreground).sample)


@pytest.mark.slow
def test_both_networks_start_from_stable_diffusion(tiny_unet2d, inputs):
    sample, time, foreground, _, _ = inputs
    shared = UnifiedUNet.from_unet2d(tiny_unet2d, cross_modal=False).eval()
    expected = shared(sample, time, foreground).sample
    for coupling in ("separate", "random_shift"):
        unet = UnifiedUNet.from_unet2d(tiny_unet2d, coupling=coupling).eval()
        torch.testing.assert_close(unet(sample, time, foreground).sample, expected)
        control = PoseControlNet.from_unet(unet)
        assert torch.equal(
            control.state_dict()["conv_in.copies.1.weight"], shared.state_dict()["conv_in.weight"]
        )


def test_one_stream_is_refused_by_networks_for_two(inputs):
    sample, time, foreground, _, _ = inputs
    with pytest.raises(ValueError, match="1 modalities, the network has weights for 2"):
        build("separate")(sample[:, :1], time, foreground)


@pytest.mark.slow
def test_parameters_of_the_papers_coupled_networks():
    """Table 4: 2 x 1.39 B; Table 7: 2.78 B, which leaves no room for MM-Diffusion's attentions."""
    separate = count_with(coupling="separate")
    assert separate / 1e9 == pytest.approx(2 * 1.39, rel=0.01)
    assert 0 < count_with(coupling="random_shift") - separate < 0.05e9
