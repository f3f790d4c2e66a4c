"""Shared cross-attention maps (Table 8): both streams apply one, their average or the video stream's."""

import math

import pytest
import torch

from idol.config import from_dict
from idol.diffusion.losses import LossConfig, total
from idol.errors import UserError
from idol.model import PoseControlNet, UnifiedUNet
from idol.model.attention import Attention
from idol.model.modality import ClipShape
from idol.training.trainable import ModelConfig, UNetConfig, build_networks
from support.tiny_networks import TINY, randomize, rebuilt

SHARED = ["average", "video"]
SIZES = {**TINY, "attention": (True, True, False)}
C, HEADS, PLACES, TOKENS = 8, 2, 6, 5


def build(maps, seed=1, **options):
    return randomize(UnifiedUNet(**{**SIZES, "cross_attention_maps": maps, **options}), seed=seed)


def layer(maps):
    return randomize(Attention(C, HEADS, context_dim=7, maps=maps), seed=1)


def layer_inputs(clip):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(clip.b * clip.m * clip.f, PLACES, C, generator=generator)
    return tokens, torch.randn(clip.b, TOKENS, 7, generator=generator)


def one_map(attention, query, context, part):
    """Softmax weights of one query (c,) over context tokens (n, c) in one head, from the formula."""
    q, k = attention.to_q(query)[part], attention.to_k(context)[:, part]
    scores = torch.stack([(q @ key / math.sqrt(q.numel())).exp() for key in k])
    return scores / scores.sum()


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(("maps", "video"), [("average", 0), ("video", 0), ("video", 1)])
def test_a_layer_equals_the_literal_loop(maps, video, frames):
    clip = ClipShape(b=2, m=2, f=frames, video=video)
    attention = layer(maps)
    tokens, foreground = layer_inputs(clip)
    kv = attention.keys_values(foreground)
    out, seen = attention.cross_attention(tokens, kv, clip, with_map=True)
    without, none = attention.cross_attention(tokens, kv, clip)
    assert none is None and torch.equal(out, without)
    ours, every = clip.unfold(out), clip.unfold(tokens)
    for b in range(2):
        values = attention.to_v(foreground[b])
        for f in range(frames):
            for s in range(PLACES):
                heads = []
                for h in range(HEADS):
                    part = slice(4 * h, 4 * h + 4)
                    own = [one_map(attention, every[b, m, f, s], foreground[b], part) for m in range(2)]
                    applied = own[video] if maps == "video" else (own[0] + own[1]) / 2
                    heads.append(sum(w * value[part] for w, value in zip(applied, values, strict=True)))
                    for m in range(2):
                        torch.testing.assert_close(seen[b, m, f, h, s], applied)
                expected = attention.to_out[0](torch.cat(heads))
                for m in range(2):
                    torch.testing.assert_close(ours[b, m, f, s], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("maps", SHARED)
def test_only_the_average_teaches_the_depths_queries(maps):
    clip = ClipShape(b=2, m=2, f=3)
    tokens, foreground = layer_inputs(clip)
    attention, tokens = layer(maps), tokens.requires_grad_()
    out, _ = attention.cross_attention(tokens, attention.keys_values(foreground), clip)
    out.square().sum().backward()  # of both streams
    video, depth = clip.unfold(tokens.grad).unbind(1)
    assert (video.abs().amax(-1) > 0).all()
    assert ((depth.abs().amax(-1) > 0) == (maps == "average")).all()


@torch.no_grad()
def test_the_video_stream_attends_as_ever_where_its_map_is_shared():
    clip = ClipShape(b=2, m=2, f=3)
    tokens, foreground = layer_inputs(clip)
    own, shared = (
        clip.unfold(each.cross_attention(tokens, each.keys_values(foreground), clip)[0])
        for each in (layer("own"), layer("video"))
    )
    torch.testing.assert_close(shared[:, 0], own[:, 0])
    assert (shared[:, 1] - own[:, 1]).abs().max() > 1e-2


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("maps", SHARED)
def test_identical_streams_notice_nothing(inputs, maps):
    sample, time, foreground, background, _ = inputs
    twins, label = sample[:, :1].repeat(1, 2, 1, 1, 1, 1), torch.tensor([0, 0])
    own, shared = (
        build(kind)(twins, time, foreground, background, modality=label, return_features=True)
        for kind in ("own", maps)
    )
    torch.testing.assert_close(shared.sample, own.sample, rtol=1e-4, atol=1e-5)
    for a, b in zip(shared.features, own.features, strict=True):
        torch.testing.assert_close(a.cross_attention, b.cross_attention, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("maps", SHARED)
def test_swapping_streams_and_labels_swaps_the_outputs(inputs, maps):
    """The video stream is the one that is labeled so, wherever it stands."""
    sample, _, foreground, background, pose = inputs
    time = torch.tensor([[3, 900], [500, 40]])
    unet = build(maps)
    control = randomize(PoseControlNet.from_unet(unet), seed=5)

    def predict(order):
        label, noisy, t = torch.tensor(order), sample[:, order], time[:, order]
        steered = control(noisy, t, foreground, pose, modality=label)
        return unet(noisy, t, foreground, background, steered, modality=label).sample

    torch.testing.assert_close(predict([0, 1]), predict([1, 0])[:, [1, 0]], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("attention", [(True, True, False), (False, False, False)])
@pytest.mark.parametrize(
    ("maps", "video_hears", "depth_hears"),
    [("own", False, False), ("average", True, True), ("video", False, True)],
)
def test_who_hears_whom_through_the_maps_alone(inputs, maps, video_hears, depth_hears, attention):
    """Without attention in its down and up blocks a U-Net still has it in the middle; frames stay apart."""
    sample, time, foreground, _, _ = inputs
    unet = build(maps, cross_modal=False, temporal=None, attention=attention)
    out = unet(sample.requires_grad_(), time, foreground).sample
    for m, hears in ((0, video_hears), (1, depth_hears)):
        (gradient,) = torch.autograd.grad(out[:, m, 2].square().sum(), sample, retain_graph=True)
        heard = gradient[:, 1 - m].abs().amax((0, 2, 3, 4)) > 0  # (f,) of the other stream
        assert heard.tolist() == [False, False, hears]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("temporal", ["handcrafted", "animatediff"])
@pytest.mark.parametrize("maps", SHARED)
def test_nothing_is_left_for_the_consistency_loss(inputs, maps, temporal):
    sample, time, foreground, background, _ = inputs
    found = {}
    for kind in ("own", maps):
        unet = build(kind, temporal=temporal, motion_heads=2)
        out = unet(sample, time, foreground, background, return_features=True)
        assert len(out.features) == 2
        for seen in out.features:
            sums = seen.cross_attention.sum(-1)
            torch.testing.assert_close(sums, torch.ones_like(sums))
        found[kind] = total(out.sample, sample, out.features, LossConfig()).attention_map.item()
    assert found["own"] > 0 and found[maps] == 0


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("maps", SHARED)
def test_neither_features_nor_work_done_once_change_the_result(inputs, maps, frames):
    sample, time, foreground, background, _ = inputs
    sample, unet = sample[:, :, :frames], build(maps)
    plain = unet(sample, time, foreground, background).sample
    kv = unet.encode_foreground(foreground)
    told = unet(sample, time, kv, background, return_features=True)
    assert torch.equal(told.sample, plain)
    assert told.features[-1].cross_attention.shape == (2, 2, frames, 2, 64, 5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = unet(sample, time, kv, background).sample
    assert (rounded.float() - plain).abs().max() < 0.05 * plain.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("maps", SHARED)
def test_every_parameter_learns_and_checkpointing_changes_nothing(inputs, maps):
    sample, time, foreground, background, _ = inputs
    unet = build(maps)

    def gradients():
        unet.zero_grad()
        out = unet(sample, time, foreground, background, return_features=True)
        loss = out.sample.square().mean() + sum(x.cross_attention.square().sum() for x in out.features)
        loss.backward()
        return {name: p.grad.clone() for name, p in unet.named_parameters()}

    plain = gradients()
    assert all(gradient.abs().max() > 0 for gradient in plain.values())
    unet.enable_gradient_checkpointing()
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


@torch.no_grad()
@pytest.mark.parametrize("maps", SHARED)
def test_saved_and_loaded_it_shares_them_still(tmp_path, inputs, maps):
    sample, time, foreground, background, _ = inputs
    unet = build(maps)
    before = unet(sample, time, foreground, background).sample
    unet.save_pretrained(tmp_path)
    again = UnifiedUNet.from_pretrained(tmp_path)
    assert again.config["cross_attention_maps"] == maps
    assert torch.equal(again(sample, time, foreground, background).sample, before)
    own = rebuilt(unet, cross_attention_maps="own").eval()
    assert own.state_dict().keys() == unet.state_dict().keys()
    assert (own(sample, time, foreground, background).sample - before).abs().max() > 1e-3


@torch.no_grad()
def test_the_pose_control_keeps_each_streams_own(inputs):
    sample, time, foreground, _, pose = inputs
    own, shared = (
        randomize(PoseControlNet.from_unet(build(kind)), seed=5)(sample, time, foreground, pose)
        for kind in ("own", "average")
    )
    assert torch.equal(own.mid, shared.mid)


@pytest.mark.parametrize("pretrained", [False, True])
def test_it_is_a_field_of_the_training_config(tmp_path, tiny_unet2d, pretrained):
    tiny_unet2d.save_pretrained(tmp_path / "unet")
    sizes = {name: list(value) if isinstance(value, tuple) else value for name, value in SIZES.items()}
    values = {
        "unet": {**sizes, "cross_attention_maps": "average"},
        "stable_diffusion": {"unet": str(tmp_path), "clip": "not read"},
    }
    networks = build_networks(from_dict(ModelConfig, values, "test"), 8, pretrained)
    assert networks.unet.config["cross_attention_maps"] == "average"
    assert torch.equal(networks.unet.conv_in.weight, tiny_unet2d.conv_in.weight) == pretrained
    assert UNetConfig().cross_attention_maps == "own"
    with pytest.raises(UserError, match="nothing to share"):
        from_dict(ModelConfig, {"unet": {"cross_attention_maps": "video", "num_modalities": 1}}, "test")


def test_what_cannot_be_shared_is_refused(inputs):
    sample, time, foreground, _, _ = inputs
    with pytest.raises(ValueError, match="nothing to share"):
        UnifiedUNet(**SIZES, num_modalities=1, cross_attention_maps="average")
    for coupling in ("separate", "random_shift"):
        with pytest.raises(ValueError, match='needs coupling "shared"'):
            UnifiedUNet(**SIZES, coupling=coupling, cross_attention_maps="video")
    with pytest.raises(ValueError, match="1 modality"):
        build("average")(sample[:, :1], time, foreground)
    with pytest.raises(ValueError, match="has no video"):
        build("video")(sample, time, foreground, modality=torch.tensor([1, 1]))
