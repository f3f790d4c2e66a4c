"""DisCo's and Stable Diffusion's weights: every key used or named, broken and hostile files refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, MotionAdapter, T2IAdapter
from safetensors.torch import load_file, save_file

from idol.errors import UserError
from idol.model.convert.disco import load_disco
from idol.model.convert.stable_diffusion import load_controlnet, load_stable_diffusion, load_t2i_adapter
from support.tiny_networks import TINY, randomize, rebuilt

DISCO = Path(__file__).parents[2] / "fixtures" / "disco_temporal"
SIZES = json.loads((DISCO / "tiny.json").read_text())


def disco(path):
    return load_disco(path, heads=SIZES["attention_head_dim"], groups=SIZES["norm_num_groups"])


@pytest.fixture(scope="module")
def tensors():
    return load_file(DISCO / "tiny.weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("file", ["tiny.weights.safetensors", "tiny.deepspeed.pt"])
@torch.no_grad()
def test_disco_computes_what_it_computed(file):
    io = load_file(DISCO / "tiny.io.safetensors")
    loaded = disco(DISCO / file)
    unet, control = loaded.unet.eval(), loaded.control.eval()
    sample = io["sample"].transpose(1, 2)[:, None]  # (b, 1, f, c, h, w)
    pose = io["pose"].transpose(1, 2)

    def same(ours, name):
        torch.testing.assert_close(ours[:, 0].transpose(1, 2), io[name], rtol=1e-4, atol=1e-4)

    same(unet(sample, io["timestep"], io["tokens"]).sample, "unet_out")
    residuals = control(sample, io["timestep"], io["tokens"], pose)
    for i, residual in enumerate(residuals.down):
        same(residual, f"control_down_{i}")
    same(residuals.mid, "control_mid")
    with_control = unet(sample, io["timestep"], io["tokens"], control=residuals).sample
    same(with_control, "unet_control_out")


def test_every_key_of_disco_is_used_or_named(tensors):
    loaded = disco(DISCO / "tiny.weights.safetensors")
    used, unused = set(loaded.report.used), set(loaded.report.unused)
    assert used | unused == set(tensors) and not used & unused
    never_applied = {k for k in tensors if ".transformer_blocks." in k and ".tem_norm." in k}
    assert never_applied and unused == never_applied
    held = loaded.background_control.state_dict()["conv_in.weight"]
    assert torch.equal(held, tensors["controlnet.nets.1.conv_in.weight"])
    assert all(name in str(loaded.report) for name in unused)
    assert torch.equal(loaded.foreground_projection.weight, tensors["refer_clip_proj.weight"])
    assert loaded.unet.config["block_out_channels"] == SIZES["block_out_channels"]


def test_disco_without_pose_or_temporal_layers(tensors, tmp_path):
    """Human attribute pre-training: one un-nested ControlNet, the background's, which reads latents."""
    images = {k: v for k, v in tensors.items() if k.startswith("unet.") and ".tem_" not in k}
    nested = {k: v for k, v in tensors.items() if k.startswith("controlnet.nets.1.") and ".tem_" not in k}
    alone = {k.replace("controlnet.nets.1.", "controlnet."): v for k, v in nested.items() if "cond_" not in k}
    encoder = "controlnet.controlnet_cond_embedding.conv_in"
    of = {part: torch.randn_like(tensors[f"unet.conv_in.{part}"]) for part in ("weight", "bias")}
    encoders = {f"{encoder}.{part}": weight for part, weight in of.items()}
    save_file(images | alone | encoders, tmp_path / "hap.safetensors")
    loaded = disco(tmp_path / "hap.safetensors")
    assert loaded.control is None and loaded.foreground_projection is None
    assert loaded.unet.config["temporal"] is None and not loaded.unet.config["norm_over_frames"]
    assert loaded.unet.config["background"] == "controlnet"
    assert loaded.report.unused == ()
    background = torch.randn(1, 4, SIZES["size"], SIZES["size"])
    embedded = loaded.background_control.embed_pose(background[:, None])[:, 0, 0]
    expected = torch.nn.functional.conv2d(background, of["weight"], of["bias"], padding=1)
    torch.testing.assert_close(embedded, expected)


def test_disco_becomes_a_dual_modal_network():
    loaded = disco(DISCO / "tiny.weights.safetensors")
    io = load_file(DISCO / "tiny.io.safetensors")
    unet = rebuilt(loaded.unet, num_modalities=2, cross_modal=True).eval()
    sample = io["sample"].transpose(1, 2)[:, None].expand(-1, 2, -1, -1, -1, -1)
    predicted = unet(sample, io["timestep"], io["tokens"]).sample
    for m in range(2):
        torch.testing.assert_close(predicted[:, m].transpose(1, 2), io["unet_out"], rtol=1e-4, atol=1e-4)


BROKEN = (
    "missing truncated empty hostile no_table not_tensors truncated_safetensors another_network incomplete"
)


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def broken(kind, tmp_path):
    path = tmp_path / f"{kind}.pt"
    whole = (DISCO / "tiny.deepspeed.pt").read_bytes()
    match kind:
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "empty":
            path.write_bytes(b"")
        case "hostile":
            torch.save({"module": Hostile(tmp_path / "trace")}, path)
        case "no_table":
            torch.save([1, 2], path)
        case "not_tensors":
            torch.save({"module": {"unet.conv_in.weight": "x"}}, path)
        case "truncated_safetensors":
            path = path.with_suffix(".safetensors")
            path.write_bytes((DISCO / "tiny.weights.safetensors").read_bytes()[:5000])
        case "another":
            torch.save({"layer.weight": torch.zeros(2)}, path)
        case "incomplete":
            weights = torch.load(DISCO / "tiny.deepspeed.pt", weights_only=True)["module"]
            del weights["unet.conv_norm_out.bias"]
            torch.save(weights, path)
    return path


@pytest.mark.parametrize("kind", BROKEN.split())
def test_bad_files_are_refused_in_one_line(kind, tmp_path):
    path = broken(kind, tmp_path)
    with pytest.raises(UserError) as raised:
        disco(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "trace").exists()


def test_wrong_number_of_groups_is_refused():
    with pytest.raises(UserError):
        load_disco(DISCO / "tiny.weights.safetensors", heads=2, groups=7)


def add_a_key(folder):
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {"extra.weight": torch.zeros(1)}, path)


def test_stable_diffusion_from_a_folder(tiny_unet2d, tmp_path, inputs):
    tiny_unet2d.save_pretrained(tmp_path / "sd" / "unet")
    add_a_key(tmp_path / "sd" / "unet")
    loaded = load_stable_diffusion(tmp_path / "sd", temporal="handcrafted")
    assert loaded.report.unused == ("extra.weight",)
    assert set(loaded.report.used) == set(tiny_unet2d.state_dict())
    assert set(loaded.report.used) | set(loaded.report.new) == set(loaded.network.state_dict())
    sample, time, foreground, _, _ = inputs
    ours = loaded.network.eval()(sample[:, :1, :1], time, foreground).sample[:, 0, 0]
    expected = tiny_unet2d(sample[:, 0, 0], time, foreground).sample
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    direct = load_stable_diffusion(tmp_path / "sd" / "unet", temporal=None)
    assert direct.report.unused == ("extra.weight",)


def test_motion_adapter_controlnet_and_t2i_adapter_from_folders(tiny_unet2d, tmp_path):
    tiny_unet2d.save_pretrained(tmp_path / "unet")
    adapter = randomize(
        MotionAdapter(
            block_out_channels=TINY["block_out_channels"],
            motion_layers_per_block=1,
            motion_num_attention_heads=2,
            motion_norm_num_groups=8,
        )
    )
    adapter.save_pretrained(tmp_path / "motion")
    add_a_key(tmp_path / "motion")
    loaded = load_stable_diffusion(
        tmp_path / "unet", motion_adapter=tmp_path / "motion", temporal="animatediff"
    )
    assert loaded.report.unused == ("extra.weight",)
    name = "mid_block.motion_modules.0.proj_in.weight"
    assert torch.equal(loaded.network.state_dict()[name], adapter.state_dict()[name])

    ControlNetModel.from_unet(tiny_unet2d).save_pretrained(tmp_path / "control")
    add_a_key(tmp_path / "control")
    assert load_controlnet(tmp_path / "control").report.unused == ("extra.weight",)
    T2IAdapter(3, [16, 32], 1, 8, "full_adapter").save_pretrained(tmp_path / "t2i")
    add_a_key(tmp_path / "t2i")
    assert load_t2i_adapter(tmp_path / "t2i").report.unused == ("extra.weight",)


def test_incomplete_and_absent_folders_are_refused(tiny_unet2d, tmp_path):
    tiny_unet2d.save_pretrained(tmp_path / "unet")
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_in.weight"]
    save_file(weights, path)
    with pytest.raises(UserError, match="conv_in"):
        load_stable_diffusion(tmp_path / "unet")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError):
        load_stable_diffusion(tmp_path / "unet")
    shutil.rmtree(tmp_path / "unet")
    with pytest.raises(UserError):
        load_stable_diffusion(tmp_path / "unet")
