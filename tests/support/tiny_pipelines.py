"""Tiny pipelines of both kinds with random weights, and inputs for them."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from idol.clip import Pose
from idol.diffusion.latents import LatentConfig
from idol.diffusion.schedule import ScheduleConfig, build_scheduler
from idol.model import PoseAdapter, PoseControlNet, UnifiedUNet
from idol.model.autoencoder import Autoencoder
from idol.model.encoders import CLIPForeground, LatentForeground
from idol.pipeline.pipeline import IdolPipeline

SIZE = 64
UNET = dict(
    in_channels=4,
    out_channels=4,
    block_out_channels=(8, 16),
    attention=(True, True),
    layers_per_block=1,
    attention_head_dim=2,
    cross_attention_dim=12,
    norm_num_groups=4,
)
DEFAULTS = dict(
    height=SIZE,
    width=SIZE,
    num_inference_steps=3,
    guidance_scale=2.0,
    foreground_size=32,
    draw_at="model",
    autocast=False,
)


def randomize(model, seed=0):
    """Small random weights everywhere: nothing is silent because it starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return model.eval()


def quiet(**components):
    pipe = IdolPipeline(**components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def normalization(latent_reference="background", m=2):
    one, zero = (0.8, 1.1, 0.9, 1.3), (0.0, 0.1, 0.0, -0.2)
    return LatentConfig((one,) * m, (zero,) * m, one, zero, latent_reference)


def background_net(unet):
    """DisCo's second ControlNet, where the U-Net leaves the background to one."""
    if unet.config["background"] != "controlnet":
        return None
    return randomize(PoseControlNet.from_unet(unet, pose_input="latent"), 5)


def mini(prediction="flow", **unet):
    """The small kind: own autoencoder, latent foreground, adapter."""
    network = randomize(UnifiedUNet(**UNET, **unet), 2)
    return quiet(
        vae=randomize(Autoencoder(4, (8, 8, 8), 1, 1), 1),
        unet=network,
        control=randomize(PoseAdapter(3, (8, 16), 1, 16), 3),
        foreground_encoder=randomize(LatentForeground(4, 16, 2, 12, 1, 2), 4),
        scheduler=build_scheduler(ScheduleConfig(prediction)),
        background_control=background_net(network),
        latent_config=vars(normalization(m=unet.get("num_modalities", 2))),
        generation_config=DEFAULTS,
    )


def stable(prediction="epsilon", pose_input="rgb", **unet):
    """The large kind: Stable Diffusion's autoencoder, CLIP, ControlNet."""
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    clip = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            projection_dim=12,
        )
    )
    network = randomize(UnifiedUNet(**UNET, **unet), 2)
    control = PoseControlNet.from_unet(network, pose_input=pose_input, pose_embedding_channels=(4, 4, 4, 4))
    return quiet(
        vae=randomize(vae, 1),
        unet=network,
        control=randomize(control, 3),
        foreground_encoder=randomize(CLIPForeground.from_clip(clip), 4),
        scheduler=build_scheduler(ScheduleConfig(prediction)),
        background_control=background_net(network),
        latent_config=vars(LatentConfig.stable_diffusion()),
        generation_config={**DEFAULTS, "draw_at": "source"},
    )


def keypoints(f, seed=0):
    points = np.random.default_rng(seed).uniform(0.1, 0.9, (f, 18, 3)).astype(np.float32)
    return Pose(points * np.array([SIZE, SIZE, 1], np.float32), SIZE, SIZE)


def clip_inputs(b=2, f=2, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((b, 80, 70), bool)
    mask[:, 20:60, 30:50] = True
    return dict(
        foreground=rng.integers(0, 256, (b, 3, 80, 70), dtype=np.uint8),
        foreground_mask=mask,
        background=rng.integers(0, 256, (b, 3, SIZE, SIZE), dtype=np.uint8),
        pose=[keypoints(f, seed=i) for i in range(b)],
    )


def joints(b=2):
    """The joints of each person in the foreground image."""
    return [keypoints(1, seed=10 + i).resized(80, 70) for i in range(b)]


def noise(b, seed=5):
    return [torch.Generator().manual_seed(seed + i) for i in range(b)]
