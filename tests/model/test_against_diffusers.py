"""Fresh from Stable Diffusion, our networks compute what diffusers' do (random weights, tiny sizes)."""

import pytest
import torch
from diffusers import ControlNetModel, MotionAdapter, T2IAdapter, UNet2DConditionModel, UNetMotionModel

from idol.errors import UserError
from idol.model import PoseAdapter, PoseControlNet, UnifiedUNet
from support.tiny_networks import TINY, randomize

VARIANTS = [
    dict(temporal="handcrafted", cross_modal=True, background="add"),
    dict(temporal="handcrafted", cross_modal=False, background="concat"),
    dict(temporal="animatediff"),
    dict(temporal=None),
]


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS)
def test_one_frame_of_one_modality_equals_the_2d_unet(tiny_unet2d, inputs, options):
    sample, time, foreground, background, _ = inputs
    unet = UnifiedUNet.from_unet2d(tiny_unet2d, **options).eval()
    image = sample[:, 0, 0]
    ours = unet(image[:, None, None], time, foreground).sample[:, 0, 0]
    close(ours, tiny_unet2d(image, time, foreground).sample)
    ours = unet(image[:, None, None], time, foreground, background).sample[:, 0, 0]
    seen = image + background if unet.config["background"] == "add" else image
    close(ours, tiny_unet2d(seen, time, foreground).sample)


@pytest.mark.slow
def test_fresh_streams_and_frames_do_not_touch_each_other(tiny_unet2d, inputs):
    """At zero init a whole clip is so many independent images."""
    sample, time, foreground, _, _ = inputs
    ours = UnifiedUNet.from_unet2d(tiny_unet2d).eval()(sample, time, foreground).sample
    for m in range(2):
        for f in range(3):
            close(ours[:, m, f], tiny_unet2d(sample[:, m, f], time, foreground).sample)


def test_sizes_that_do_not_halve_evenly(tiny_unet2d):
    image, time, foreground = torch.randn(1, 4, 9, 7), torch.tensor([5]), torch.randn(1, 3, 12)
    ours = UnifiedUNet.from_unet2d(tiny_unet2d).eval()(image[:, None, None], time, foreground).sample
    close(ours[:, 0, 0], tiny_unet2d(image, time, foreground).sample)


def test_several_transformer_blocks_per_layer():
    torch.manual_seed(0)
    sizes = dict(TINY, block_out_channels=(16, 32), layers_per_block=2, transformer_layers_per_block=2)
    unet2d = UNet2DConditionModel(
        **sizes,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    unet2d = randomize(unet2d)
    image, time, foreground = torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 3, 12)
    ours = UnifiedUNet.from_unet2d(unet2d).eval()(image[:, None, None], time, foreground).sample
    close(ours[:, 0, 0], unet2d(image, time, foreground).sample)


@pytest.mark.slow
def test_controlnet(tiny_unet2d, inputs):
    sample, time, foreground, _, pose = inputs
    theirs = randomize(ControlNetModel.from_unet(tiny_unet2d), seed=3)
    control = PoseControlNet.from_controlnet(theirs).eval()(sample[:, :1, :1], time, foreground, pose[:, :1])
    down, mid = theirs(sample[:, 0, 0], time, foreground, pose[:, 0], return_dict=False)
    for a, b in zip(control.down, down, strict=True):
        close(a[:, 0, 0], b)
    close(control.mid[:, 0, 0], mid)

    unet = UnifiedUNet.from_unet2d(tiny_unet2d).eval()
    ours = unet(sample[:, :1, :1], time, foreground, control=control).sample[:, 0, 0]
    expected = tiny_unet2d(
        sample[:, 0, 0],
        time,
        foreground,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
    ).sample
    close(ours, expected)
    with pytest.raises(AssertionError):
        close(expected, tiny_unet2d(sample[:, 0, 0], time, foreground).sample)


@pytest.mark.slow
@pytest.mark.parametrize("pose_input", ["rgb", "latent"])
@pytest.mark.parametrize("background", ["add", "concat"])
def test_fresh_control_is_silent_and_made_of_the_unet(tiny_unet2d, inputs, pose_input, background):
    sample, time, foreground, _, pose = inputs
    unet = UnifiedUNet.from_unet2d(tiny_unet2d, background=background).eval()
    net = PoseControlNet.from_unet(unet, pose_input=pose_input).eval()
    if pose_input == "latent":
        pose = sample[:, 0]
    control = net(sample, time, foreground, pose)
    assert all((r == 0).all() for r in (*control.down, control.mid))
    assert torch.equal(
        net.down_blocks[1].resnets[0].conv1.weight, unet.down_blocks[1].resnets[0].conv1.weight
    )
    plain = unet(sample, time, foreground).sample
    assert torch.equal(unet(sample, time, foreground, control=control).sample, plain)


@pytest.mark.slow
def test_t2i_adapter(tiny_unet2d, inputs):
    sample, time, foreground, _, pose = inputs
    channels = list(TINY["block_out_channels"])
    theirs = randomize(
        T2IAdapter(3, channels, num_res_blocks=1, downscale_factor=8, adapter_type="full_adapter")
    )
    adapter = PoseAdapter.from_t2i_adapter(theirs)
    control = adapter(pose)
    unet = UnifiedUNet.from_unet2d(tiny_unet2d).eval()
    ours = unet(sample, time, foreground, control=control).sample
    for m in range(2):
        for f in range(3):
            expected = tiny_unet2d(
                sample[:, m, f],
                time,
                foreground,
                down_intrablock_additional_residuals=[x.clone() for x in theirs(pose[:, f])],
            ).sample
            close(ours[:, m, f], expected)


@pytest.mark.slow
@pytest.mark.parametrize("mid", [True, False])
def test_animatediff(tiny_unet2d, inputs, mid):
    sample, time, foreground, _, _ = inputs
    adapter = randomize(
        MotionAdapter(
            block_out_channels=TINY["block_out_channels"],
            motion_layers_per_block=1,
            motion_num_attention_heads=2,
            motion_norm_num_groups=8,
            motion_max_seq_length=6,
            use_motion_mid_block=mid,
        ),
        seed=4,
    )
    theirs = UNetMotionModel.from_unet2d(tiny_unet2d, adapter).eval()
    ours = UnifiedUNet.from_unet2d(tiny_unet2d, temporal="animatediff", motion_adapter=adapter).eval()
    predicted = ours(sample, time, foreground).sample
    tokens = foreground.repeat_interleave(3, dim=0)  # diffusers wants them per frame
    for m in range(2):
        clip = sample[:, m].transpose(1, 2)  # (b, c, f, h, w)
        close(predicted[:, m].transpose(1, 2), theirs(clip, time, tokens).sample)
    with pytest.raises(ValueError, match="frames"):
        ours(sample.repeat(1, 1, 3, 1, 1, 1), time, foreground)


def test_networks_of_another_kind_are_refused(tiny_unet2d):
    kinds = dict(use_linear_projection=True, act_fn="gelu", class_embed_type="timestep")
    for name, value in kinds.items():
        sizes = dict(
            TINY,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
        with pytest.raises(UserError, match=name):
            UnifiedUNet.from_unet2d(UNet2DConditionModel(**sizes, **{name: value}))
    adapter = MotionAdapter(block_out_channels=(16, 32), motion_layers_per_block=1, motion_norm_num_groups=8)
    with pytest.raises(UserError, match="block_out_channels"):
        UnifiedUNet.from_unet2d(tiny_unet2d, temporal="animatediff", motion_adapter=adapter)
    with pytest.raises(UserError, match="animatediff"):
        UnifiedUNet.from_unet2d(tiny_unet2d, motion_adapter=adapter)
