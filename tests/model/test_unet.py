"""What the dual-modal U-Net promises, whatever its weights: identities, shapes, caches, save and load."""

import pytest
import torch

from idol.model import Control, PoseAdapter, PoseControlNet, UnifiedUNet
from support.tiny_networks import TINY, randomize, rebuilt

ATTENTION = (True, True, False)


def build(**options):
    return randomize(UnifiedUNet(**{**TINY, "attention": ATTENTION, **options}), seed=1)


@pytest.fixture
def tiny_control(tiny_unet):
    return randomize(PoseControlNet.from_unet(tiny_unet), seed=5)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def apart(a, b):
    assert (a - b).abs().max() > 1e-3


@pytest.mark.slow
def test_swapping_streams_and_labels_swaps_the_outputs(tiny_unet, tiny_control, inputs):
    sample, _, foreground, background, pose = inputs
    time = torch.tensor([[3, 900], [500, 40]])  # (b, m)

    def predict(order):
        label = torch.tensor(order)
        noisy, t = sample[:, order], time[:, order]
        control = tiny_control(noisy, t, foreground, pose, modality=label)
        return tiny_unet(noisy, t, foreground, background, control, modality=label).sample

    straight, swapped = predict([0, 1]), predict([1, 0])
    close(straight, swapped[:, [1, 0]])
    unlabeled = tiny_unet(sample[:, [1, 0]], time[:, [1, 0]], foreground, background).sample
    apart(tiny_unet(sample, time, foreground, background).sample, unlabeled[:, [1, 0]])


def test_exchanging_the_label_weights_swaps_the_outputs(tiny_unet, inputs):
    sample, time, foreground, _, _ = inputs
    before = tiny_unet(sample, time, foreground).sample
    with torch.no_grad():
        tiny_unet.modality_embedding.weight.copy_(tiny_unet.modality_embedding.weight.flip(0))
    close(tiny_unet(sample.flip(1), time, foreground).sample.flip(1), before)


@pytest.mark.parametrize("temporal", [None, "handcrafted", "animatediff"])
def test_frames_see_each_other_through_temporal_layers_only(inputs, temporal):
    sample, time, foreground, background, _ = inputs
    unet = build(temporal=temporal, motion_heads=2)
    other = sample.clone()
    other[:, :, 1:] += 1
    one, two = (unet(x, time, foreground, background).sample[:, :, 0] for x in (sample, other))
    (close if temporal is None else apart)(one, two)


def test_modalities_see_each_other_through_cross_modal_attention_only(inputs):
    sample, time, foreground, _, _ = inputs
    other = sample.clone()
    other[:, 1] += 1
    for cross_modal, compare in ((True, apart), (False, close)):
        unet = build(cross_modal=cross_modal)
        compare(unet(sample, time, foreground).sample[:, 0], unet(other, time, foreground).sample[:, 0])


def test_cross_modal_attention_never_looks_at_other_frames(inputs):
    sample, time, foreground, _, _ = inputs
    unet = build(temporal=None, cross_modal=True)
    other = sample.clone()
    other[:, 1, 2] += 1
    one, two = (unet(x, time, foreground).sample for x in (sample, other))
    close(one[:, 0, :2], two[:, 0, :2])
    apart(one[:, 0, 2], two[:, 0, 2])


def test_clips_of_a_batch_are_independent(tiny_unet, tiny_control, inputs):
    sample, time, foreground, background, pose = inputs
    control = tiny_control(sample, time, foreground, pose)
    together = tiny_unet(sample, time, foreground, background, control).sample
    for i in range(2):
        only = slice(i, i + 1)
        control = tiny_control(sample[only], time[only], foreground[only], pose[only])
        alone = tiny_unet(sample[only], time[only], foreground[only], background[only], control).sample
        close(together[only], alone)


@pytest.mark.slow
def test_one_time_per_modality(tiny_unet, tiny_control, inputs):
    sample, time, foreground, _, pose = inputs
    per_stream = torch.stack([time, time], dim=1)
    close(tiny_unet(sample, time, foreground).sample, tiny_unet(sample, per_stream, foreground).sample)
    a, b = (tiny_control(sample, t, foreground, pose).mid for t in (time, per_stream))
    close(a, b)
    per_stream[:, 1] = 0
    apart(tiny_unet(sample, time, foreground).sample, tiny_unet(sample, per_stream, foreground).sample)
    alone = build(cross_modal=False)
    one, two = (alone(sample, t, foreground).sample for t in (time, per_stream))
    close(one[:, 0], two[:, 0])
    apart(one[:, 1], two[:, 1])


@pytest.mark.parametrize("kind", ["add", "concat"])
def test_a_background_per_frame(inputs, kind):
    sample, time, foreground, background, _ = inputs
    unet = build(background=kind)
    per_frame = background[:, None].repeat(1, 3, 1, 1, 1)
    close(unet(sample, time, foreground, background).sample, unet(sample, time, foreground, per_frame).sample)
    per_frame[:, 2] += 1
    apart(unet(sample, time, foreground, background).sample, unet(sample, time, foreground, per_frame).sample)
    if kind == "add":
        close(
            unet(sample, time, foreground, background).sample,
            unet(sample + background[:, None, None], time, foreground).sample,
        )


def test_video_alone(inputs):
    sample, time, foreground, _, _ = inputs
    unet = build(num_modalities=1)
    assert not any("cross_modal" in name for name, _ in unet.named_parameters())
    assert unet(sample[:, :1], time, foreground).sample.shape == sample[:, :1].shape
    with pytest.raises(ValueError, match="modalities"):
        unet(sample, time, foreground)


def test_features_have_the_shapes_the_losses_need(tiny_unet, inputs):
    sample, time, foreground, _, _ = inputs
    output = tiny_unet(sample, time, foreground, return_features=True)
    close(output.sample, tiny_unet(sample, time, foreground).sample)
    assert tiny_unet(sample, time, foreground).features is None
    shapes = [(x.self_attention.shape, x.cross_attention.shape) for x in output.features]
    assert shapes == [
        ((2, 2, 3, 4 * 4, 32), (2, 2, 3, 2, 4 * 4, 5)),
        ((2, 2, 3, 8 * 8, 16), (2, 2, 3, 2, 8 * 8, 5)),
    ]
    for seen in output.features:
        close(seen.cross_attention.sum(-1), torch.ones_like(seen.cross_attention[..., 0]))


def test_work_done_once_gives_the_same(tiny_unet, tiny_control, inputs):
    sample, time, foreground, background, pose = inputs
    control = tiny_control(sample, time, foreground, pose)
    plain = tiny_unet(sample, time, foreground, background, control).sample
    cached = tiny_control(
        sample,
        time,
        tiny_control.encode_foreground(foreground),
        pose_embedded=tiny_control.embed_pose(pose),
    )
    kv = tiny_unet.encode_foreground(foreground)
    assert torch.equal(plain, tiny_unet(sample, time, kv, background, cached).sample)
    with pytest.raises(ValueError, match="pose"):
        tiny_control(sample, time, foreground)


def test_control_is_shared_or_per_modality_and_can_be_scaled(tiny_unet, tiny_control, inputs):
    sample, time, foreground, _, pose = inputs
    adapter = randomize(PoseAdapter(3, TINY["block_out_channels"], 1, 8), seed=6)
    assert [tuple(r.shape) for r in adapter(pose).intrablock] == [
        (2, 1, 3, 16, 8, 8),
        (2, 1, 3, 32, 4, 4),
        (2, 1, 3, 32, 2, 2),
    ]
    for control in (adapter(pose), tiny_control(sample, time, foreground, pose)):
        plain = tiny_unet(sample, time, foreground).sample
        apart(tiny_unet(sample, time, foreground, control=control).sample, plain)
        down, intrablock = (r and tuple(map(torch.zeros_like, r)) for r in (control.down, control.intrablock))
        nothing = Control(down, None, intrablock)
        assert torch.equal(tiny_unet(sample, time, foreground, control=nothing).sample, plain)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["handcrafted", "animatediff"])
def test_every_parameter_learns_and_checkpointing_changes_nothing(inputs, temporal):
    sample, time, foreground, background, pose = inputs
    unet = build(temporal=temporal, motion_heads=2)
    control = randomize(PoseControlNet.from_unet(unet), seed=5)
    networks = torch.nn.ModuleList([unet, control])

    def gradients():
        networks.zero_grad()
        residuals = control(sample, time, foreground, pose)
        out = unet(sample, time, foreground, background, residuals, return_features=True)
        loss = out.sample.square().mean() + sum(x.cross_attention.square().sum() for x in out.features)
        loss.backward()
        return {name: p.grad.clone() for name, p in networks.named_parameters()}

    plain = gradients()
    assert all(gradient.abs().max() > 0 for gradient in plain.values())
    for network in networks:
        network.enable_gradient_checkpointing()
    assert unet.is_gradient_checkpointing
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


@torch.no_grad()
def test_bfloat16_and_channels_last_are_close(tiny_unet, inputs):
    sample, time, foreground, background, _ = inputs
    exact = tiny_unet(sample, time, foreground, background).sample
    last = tiny_unet.to(memory_format=torch.channels_last)
    close(last(sample, time, foreground, background).sample, exact)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = tiny_unet(sample, time, foreground, background, return_features=True).sample
    assert (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()
    half = tiny_unet.to(torch.bfloat16)
    rounded = half(sample.bfloat16(), time, foreground.bfloat16(), background.bfloat16()).sample
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("temporal", [None, "handcrafted", "animatediff"])
def test_save_and_load(tmp_path, inputs, temporal):
    sample, time, foreground, background, pose = inputs
    unet = build(temporal=temporal, motion_heads=2, background="concat")
    control = randomize(PoseControlNet.from_unet(unet), seed=5)
    adapter = PoseAdapter(3, TINY["block_out_channels"], 1, 8)
    for name, network in (("unet", unet), ("control", control), ("adapter", adapter)):
        network.save_pretrained(tmp_path / name)
    again = UnifiedUNet.from_pretrained(tmp_path / "unet")
    residuals = PoseControlNet.from_pretrained(tmp_path / "control")(sample, time, foreground, pose)
    before = unet(sample, time, foreground, background, control(sample, time, foreground, pose)).sample
    assert torch.equal(again(sample, time, foreground, background, residuals).sample, before)
    pairs = zip(
        PoseAdapter.from_pretrained(tmp_path / "adapter")(pose).intrablock,
        adapter(pose).intrablock,
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_new_layers_start_silent_on_trained_weights(inputs):
    """From HAOP (video alone) to images to clips: each stage starts from what the one before computes."""
    sample, time, foreground, _, pose = inputs
    haop = build(num_modalities=1, temporal=None, cross_modal=False)
    image = rebuilt(haop, num_modalities=2, cross_modal=True)
    video = rebuilt(image, temporal="handcrafted").eval()
    before = haop(sample[:, :1], time, foreground).sample
    close(image.eval()(sample, time, foreground).sample[:, :1], before)
    close(video(sample, time, foreground).sample[:, :1], before)
    control = randomize(PoseControlNet.from_unet(haop), seed=5)
    grown = rebuilt(control, num_modalities=2, temporal="handcrafted").eval()
    expected = control(sample[:, :1], time, foreground, pose).mid
    close(grown(sample, time, foreground, pose).mid[:, :1], expected)


@pytest.mark.parametrize("attention", [(True, True), (False, True)])
def test_two_levels_with_attention_where_asked(attention, inputs):
    """The shape of the small models: attention at the deepest level too."""
    sample, time, foreground, background, pose = inputs
    unet = randomize(
        UnifiedUNet(
            in_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            attention=attention,
            attention_head_dim=2,
            cross_attention_dim=12,
            norm_num_groups=8,
            background="concat",
        )
    )
    adapter = PoseAdapter(3, (16, 32), 1, 8)
    output = unet(sample, time, foreground, background, adapter(pose), return_features=True)
    assert output.sample.shape == sample.shape
    assert len(output.features) == sum(attention)
    assert sum(block.cross_modal is not None for block in [*unet.down_blocks, *unet.up_blocks]) == 2 * sum(
        attention
    )


def test_the_draft_goes_into_the_first_convolution_of_both_streams(inputs):
    sample, time, foreground, background, _ = inputs
    unet = build(background="concat", draft=True)
    draft = torch.randn(sample.shape, generator=torch.Generator().manual_seed(0))
    still = background[:, None, None].expand_as(sample)
    wide = torch.cat([sample, still, draft], 3).flatten(0, 2)
    seen = []
    hook = unet.conv_in.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with_draft = unet(sample, time, foreground, background, draft=draft).sample
    hook.remove()
    close(seen[0], wide)
    close(
        unet(sample, time, foreground, background).sample,
        unet(sample, time, foreground, background, draft=torch.zeros_like(draft)).sample,
    )
    apart(with_draft, unet(sample, time, foreground, background).sample)
    with pytest.raises(ValueError, match="draft"):
        build()(sample, time, foreground, background, draft=draft)


def _twin(unet, **options):
    """A network of the same weights and other options."""
    sizes = {k: v for k, v in unet.config.items() if not k.startswith("_")}
    twin = UnifiedUNet(**{**sizes, **options}).eval()
    twin.load_state_dict(unet.state_dict())
    return twin


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2,), (2, 2)])
def test_clean_latents_are_told_as_the_flow_that_leads_to_them(inputs, shape):
    sample, _, foreground, background, _ = inputs
    time = torch.tensor([700.0, 30.0, 250.0, 1000.0])[: torch.Size(shape).numel()].reshape(shape)
    unet = build(output="clean")
    clean = _twin(unet, output="prediction")(sample, time, foreground, background).sample
    flow = unet(sample, time, foreground, background).sample
    for i in range(2):
        for m in range(2):
            sigma = max((time[i] if time.ndim == 1 else time[i, m]).item() / 1000, 0.05)
            close(flow[i, m] * sigma, sample[i, m] - clean[i, m])


def test_mixed_latents_add_the_background_and_take_the_draft_away_place_by_place(inputs):
    sample, time, foreground, background, _ = inputs
    time = time.float()
    draft = torch.randn(sample.shape, generator=torch.Generator().manual_seed(1))
    mixed = build(background="concat", draft=True, output="mixed")
    wider = {"output": "prediction", "out_channels": mixed.config["out_channels"] + 2}
    raw = _twin(mixed, **wider)(sample, time, foreground, background, draft=draft).sample
    own, shown, painted = raw.split([sample.shape[3], 1, 1], 3)
    clean = own - painted * draft
    clean[:, 0] += (shown * background[:, None, None])[:, 0]  # depth shows no background
    sigma = (time / 1000).clamp_min(0.05).reshape(-1, *(1,) * 5)
    flow = mixed(sample, time, foreground, background, draft=draft).sample
    close(flow * sigma, sample - clean)
