"""The pipeline against a literal sampling loop, and every form of its input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from idol.clip.depth import colorize_tensor, decolorize_tensor
from idol.data.batch import DataConfig, ImageSamples
from idol.data.dataset import ImageConfig, SkeletonConfig, WindowConfig
from idol.data.shards import ShardReader, ShardWriter
from idol.errors import UserError
from idol.model import PoseAdapter, PoseControlNet
from idol.model.encoders import CLIPForeground
from idol.model.unet_encoder import Control
from idol.pipeline import image_inputs
from idol.pipeline.config import GenerationConfig
from idol.pipeline.pipeline import IdolPipeline
from idol.pipeline.sampler import overlapping_windows
from idol.pose.foreground_crop import foreground_crop
from idol.pose.skeleton import draw
from idol.training.latent_statistics import TrainingCodec, encode_batch
from idol.training.trainable import batch_conditions
from support.drawn import drawn_clip
from support.recorded_progress import RecordedProgress
from support.tiny_pipelines import DEFAULTS, SIZE, clip_inputs, joints, keypoints, mini, noise, stable


@pytest.fixture(scope="module")
def small():
    return mini()


@torch.no_grad()
def literal(pipe, inputs, poses, steps, scale, f, spans=(slice(None),)):
    """Sampling written out: nothing cached, nothing folded, every condition computed again at every step."""
    b, m = len(inputs["foreground"]), pipe.unet.config["num_modalities"]
    codec, settings = pipe.codec, pipe.defaults
    how = dict(stick_width=settings.stick_width, radius=settings.radius, at=settings.draw_at)
    skeleton = torch.stack([torch.tensor(draw(p, SIZE, SIZE, **how)) / 255 for p in inputs["pose"]])
    crops = [
        foreground_crop(inputs["foreground"][i], inputs["foreground_mask"][i], poses[i], 32) for i in range(b)
    ]
    image = torch.stack([torch.tensor(c.image) / 255 for c in crops])
    mask = torch.stack([torch.tensor(c.mask).float()[None] for c in crops])
    joints = torch.stack([torch.tensor(draw(c.pose, 32, 32, **how))[0] / 255 for c in crops])
    background = codec.encode_image(torch.tensor(inputs["background"]) / 255 * 2 - 1)
    z = torch.stack([torch.randn(m, f, *background.shape[1:], generator=g) for g in noise(b)])
    if hasattr(pipe.scheduler, "set_begin_index"):
        pipe.scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    else:
        pipe.scheduler.set_timesteps(steps)

    def evaluated(z, skeleton, t, conditional):
        n = z.shape[2]
        if isinstance(pipe.foreground_encoder, CLIPForeground):
            tokens = pipe.foreground_encoder(image, mask)
        else:
            tokens = pipe.foreground_encoder(codec.encode_image(image * 2 - 1), joints, mask)
        tokens = tokens if conditional else pipe.foreground_encoder.unconditional(tokens)
        match pipe.control:
            case PoseAdapter():
                control = pipe.control(skeleton)
            case PoseControlNet():
                latent = pipe.control.config["pose_input"] == "latent"
                pose = codec.encode_image(skeleton * 2 - 1) if latent else skeleton
                control = pipe.control(z, t.expand(b), tokens, pose)
            case None:
                control = None
        if pipe.background_control is not None:
            own = pipe.background_control(z, t.expand(b), tokens, background[:, None].repeat(1, n, 1, 1, 1))
            poses_too = control.down is not None
            down = [x + y for x, y in zip(own.down, control.down, strict=True)] if poses_too else own.down
            mid = own.mid + control.mid if poses_too else own.mid
            control = Control(tuple(down), mid, control.intrablock)
        return pipe.unet(z, t.expand(b), tokens, background, control).sample

    for t in pipe.scheduler.timesteps:
        total, weights = torch.zeros_like(z), torch.zeros(f, 1, 1, 1)
        for frames in spans:
            seen = z[:, :, frames], skeleton[:, frames]
            predictions = [evaluated(*seen, t, conditional) for conditional in (False, True)]
            guided, n = predictions[0] + scale * (predictions[1] - predictions[0]), seen[0].shape[2]
            for i, frame in enumerate(range(f)[frames]):
                weight = min(i + 1, n - i)
                total[:, :, frame] += weight * guided[:, :, i]
                weights[frame] += weight
        z = pipe.scheduler.step(total / weights, t, z).prev_sample
    images = codec.decode(z, background)
    return z, images


KINDS = {
    "mini-flow": lambda: mini("flow"),
    "mini-v": lambda: mini("v"),
    "mini-video-alone": lambda: mini("flow", num_modalities=1),
    "mini-concat": lambda: mini("flow", background="concat"),
    "mini-background-control": lambda: mini("flow", background="controlnet"),
    "stable-background-control": lambda: stable(background="controlnet"),
    "stable-epsilon": stable,
    "stable-pose-latent": lambda: stable(pose_input="latent"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sampling_with_caches_equals_the_literal_loop(kind):
    pipe = KINDS[kind]()
    inputs, poses = clip_inputs(), joints()
    out = pipe(**inputs, foreground_pose=poses, generator=noise(2))
    z, images = literal(pipe, inputs, poses, 3, 2.0, f=2)
    assert_close(out.latents, z, atol=2e-4, rtol=1e-3)
    assert_close(out.video, (images[:, 0] + 1) / 2, atol=1e-3, rtol=1e-3)
    if pipe.unet.config["num_modalities"] == 1:
        assert out.depth is None
        return
    depth = decolorize_tensor(images[:, 1], "hot")
    # a value at the floor itself may fall on either side
    clear = (depth - 0.15).abs() > 1e-3
    expected = torch.where(depth < 0.15, 0, depth.clamp_min(0.2))
    assert_close(out.depth[clear], expected[clear], atol=1e-3, rtol=1e-3)
    assert out.video.shape == (2, 2, 3, SIZE, SIZE) and out.depth.shape == (2, 2, SIZE, SIZE)


@pytest.mark.parametrize("kind", ["mini-flow", "stable-epsilon"])
def test_conditions_are_encoded_once(kind, monkeypatch):
    pipe = KINDS[kind]()
    counts = {"encode": 0, "keys": 0, "pose": 0, "denoise": 0}

    def counting(owner, name, key):
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            counts[key] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    counting(pipe.vae, "encode", "encode")
    counting(pipe.unet, "encode_foreground", "keys")
    counting(pipe.unet, "forward", "denoise")
    if isinstance(pipe.control, PoseControlNet):
        counting(pipe.control, "embed_pose", "pose")
    else:
        counting(pipe.control, "forward", "pose")
    seen = []
    for steps in (2, 5):
        counts.update(dict.fromkeys(counts, 0))
        pipe(**clip_inputs(), num_inference_steps=steps)
        assert counts.pop("denoise") == steps
        seen.append(dict(counts))
        counts["denoise"] = 0
    assert seen[0] == seen[1] and seen[0]["keys"] == seen[0]["pose"] == 1


def test_networks_are_given_what_training_gives_them(small, tmp_path):
    clip = drawn_clip(0, frames=2, size=SIZE)
    ShardWriter(tmp_path, samples_per_shard=1, image="png").write([clip])
    config = DataConfig(
        (tmp_path,),
        images=ImageConfig(size=SIZE, foreground_size=32),
        window=WindowConfig(frames=2, reference="first"),
        skeleton=SkeletonConfig(stick_width=4.0, radius=4.0),
    )
    batch = encode_batch(ImageSamples([ShardReader(tmp_path)], config, 0)[0], small.vae)
    trained_on = batch_conditions(batch, TrainingCodec(small.vae, small.codec_config), latent_pose=False)

    seen = {}
    hooks = [
        getattr(small, name).register_forward_pre_hook(lambda m, args, name=name: seen.update({name: args}))
        for name in ("unet", "control", "foreground_encoder")
    ]
    small(
        clip.video[0],
        clip.mask[0],
        clip.background,
        clip.pose,
        foreground_pose=clip.pose.select([0]),
        guidance_scale=1.0,
        num_inference_steps=1,
    )
    for hook in hooks:
        hook.remove()
    close = dict(atol=1e-4, rtol=1e-3)
    assert_close(seen["unet"][3], trained_on.background, **close)
    assert_close(seen["control"][0], trained_on.pose, **close)
    for ours, theirs in zip(
        seen["foreground_encoder"],
        (trained_on.foreground, trained_on.foreground_pose, trained_on.foreground_mask),
        strict=True,
    ):
        assert_close(ours, theirs, **close)


@pytest.mark.slow
def test_batch_size_changes_nothing(small):
    inputs, poses = clip_inputs(b=3), joints(3)
    together = small(**inputs, foreground_pose=poses, generator=noise(3))
    for i in range(3):
        one = {key: value[i : i + 1] for key, value in inputs.items()}
        alone = small(**one, foreground_pose=poses[i], generator=noise(3)[i])
        assert_close(alone.latents[0], together.latents[i], atol=1e-5, rtol=1e-4)
        assert_close(alone.video[0], together.video[i], atol=1e-4, rtol=1e-3)


def test_same_seed_same_clip_other_seed_other_clip(small):
    first, again, other = (small(**clip_inputs(), generator=noise(2, seed)) for seed in (1, 1, 2))
    assert torch.equal(first.video, again.video) and torch.equal(first.depth, again.depth)
    assert not torch.equal(first.video, other.video)


def test_guidance_scale_one_is_the_conditional_prediction(small):
    at_one = small(**clip_inputs(), guidance_scale=1.0, generator=noise(2))
    near = small(**clip_inputs(), guidance_scale=1.0 + 1e-6, generator=noise(2))
    assert_close(at_one.latents, near.latents, atol=1e-4, rtol=1e-3)


def test_every_form_of_image_gives_the_same_clip(small):
    inputs = clip_inputs(b=1)
    reference = small(**inputs, generator=noise(1)).video
    image, mask = inputs["foreground"][0], inputs["foreground_mask"][0]
    background, skeletons = inputs["background"][0], draw(inputs["pose"][0], SIZE, SIZE, at="model")
    forms = [
        dict(foreground=image, foreground_mask=mask, background=background, pose=inputs["pose"][0]),
        dict(
            foreground=Image.fromarray(image.transpose(1, 2, 0)),
            foreground_mask=Image.fromarray(mask),
            background=Image.fromarray(background.transpose(1, 2, 0)),
            pose=torch.tensor(skeletons) / 255,
        ),
        dict(
            foreground=torch.tensor(image) / 255,
            foreground_mask=torch.tensor(mask)[None].float(),
            background=[background.transpose(1, 2, 0)],
            pose=skeletons[None],
        ),
        dict(
            foreground=[image],
            foreground_mask=mask.astype(np.uint8),
            background=np.broadcast_to(background, (1, 2, *background.shape)),
            pose=[inputs["pose"][0]],
        ),
    ]
    for form in forms:
        assert_close(small(**form, generator=noise(1)).video, reference, atol=1e-4, rtol=1e-3)


def test_a_moving_background(small):
    inputs = clip_inputs(b=1)
    still = small(**inputs, generator=noise(1))
    moving = np.stack([inputs["background"], inputs["background"][..., ::-1]], 1)
    out = small(**{**inputs, "background": moving}, generator=noise(1))
    assert not torch.equal(out.video, still.video)


def test_backgrounds_are_resized_to_cover(small):
    inputs = clip_inputs(b=1)
    wide = np.zeros((3, 100, 300), np.uint8)
    wide[:, :, 90:210] = 255  # what remains after the sides are cut off
    out = small(**{**inputs, "background": wide}, generator=noise(1))
    white = np.full((3, 50, 50), 255, np.uint8)
    assert_close(out.video, small(**{**inputs, "background": white}, generator=noise(1)).video)


def test_a_still_background_is_converted_once(small, monkeypatch):
    sizes = []
    monkeypatch.setattr(image_inputs, "cover", lambda images, *size: sizes.append(size) or images)
    small(**clip_inputs(f=7), window=3, overlap=1, decode_chunk=2, detail="restore")
    assert sizes == [(SIZE, SIZE)]


def test_one_background_and_pose_serve_all(small):
    inputs = clip_inputs(b=2)
    one = {**inputs, "background": inputs["background"][:1], "pose": inputs["pose"][0]}
    both = {
        **inputs,
        "background": np.repeat(inputs["background"][:1], 2, 0),
        "pose": [inputs["pose"][0]] * 2,
    }
    assert torch.equal(small(**one, generator=noise(2)).video, small(**both, generator=noise(2)).video)


def test_other_sizes_and_lengths(small):
    inputs = clip_inputs(b=1, f=5)
    out = small(**inputs, height=96, width=128, num_inference_steps=1)
    assert out.video.shape == (1, 5, 3, 96, 128) and out.depth.shape == (1, 5, 96, 128)
    assert 0 <= out.video.min() and out.video.max() <= 1 and 0 <= out.depth.min() and out.depth.max() <= 1


def test_depth_of_a_person_is_nothing_or_at_least_the_floor(small):
    depth = small(**clip_inputs()).depth
    assert ((depth == 0) | (depth >= 0.2)).all()


@pytest.mark.parametrize("modality", [0, 1])
def test_one_modality_given(small, modality):
    """The given stream stays clean and at time 0; what is returned of it is what was given."""
    inputs, b, f = clip_inputs(), 2, 2
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(b, f, 3, SIZE, SIZE, generator=generator)
    depth = torch.rand(b, f, SIZE, SIZE, generator=generator)
    given = {"video": video} if modality == 0 else {"depth": depth}
    seen = []
    handle = small.unet.register_forward_pre_hook(lambda m, args: seen.append((args[0], args[1])))
    out = small(**inputs, **given, guidance_scale=1.0, generator=noise(2))
    handle.remove()
    assert torch.equal(*((out.video, video) if modality == 0 else (out.depth, depth)))
    background = small.codec.encode_image(torch.tensor(inputs["background"]) / 255 * 2 - 1)
    clean = small.codec.encode(video * 2 - 1, colorize_tensor(depth), background)[:, modality]
    for sample, times in seen:
        assert_close(sample[:, modality], clean, atol=1e-4, rtol=1e-3)
        assert (times[:, modality] == 0).all() and (times[:, 1 - modality] > 0).all()
    assert_close(out.latents[:, modality], clean, atol=1e-4, rtol=1e-3)
    plain = small(**inputs, guidance_scale=1.0, generator=noise(2))
    assert not torch.allclose(out.latents[:, 1 - modality], plain.latents[:, 1 - modality])


def test_windows_cover_and_overlap():
    assert list(overlapping_windows(8, 8, 2)) == [slice(0, 8)]
    assert list(overlapping_windows(11, 4, 2)) == [
        slice(0, 4),
        slice(2, 6),
        slice(4, 8),
        slice(6, 10),
        slice(7, 11),
    ]
    for f, window, overlap in [(9, 8, 4), (30, 8, 3), (17, 5, 0)]:
        parts = list(overlapping_windows(f, window, overlap))
        assert sorted({i for p in parts for i in range(p.start, p.stop)}) == list(range(f))
        for a, b in zip(parts, parts[1:], strict=False):
            assert b.start > a.start and a.stop - b.start >= overlap


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mini-flow", "stable-epsilon", "mini-background-control"])
def test_windows_are_averaged_at_every_step_as_in_the_literal_loop(kind):
    """Of seven frames, the middle ones are in three windows each; a network of time sees its window alone."""
    pipe, poses = KINDS[kind](), joints()
    inputs = clip_inputs(f=7)
    out = pipe(**inputs, foreground_pose=poses, generator=noise(2), window=3, overlap=2, decode_chunk=2)
    spans = [slice(start, start + 3) for start in range(5)]
    z, _ = literal(pipe, inputs, poses, 3, 2.0, 7, spans)
    assert_close(out.latents, z, atol=2e-4, rtol=1e-3)
    stitched, _ = literal(pipe, inputs, poses, 3, 2.0, 7, [slice(0, 3), slice(3, 6), slice(6, 7)])
    assert (z - stitched).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mini-video-alone", "stable-pose-latent"])
def test_frames_of_a_clip_in_windows_are_those_of_its_latents(kind):
    """Video and depth are decoded one after the other then; a network of the video alone has no depth."""
    pipe = KINDS[kind]()
    out = pipe(**clip_inputs(f=5), foreground_pose=joints(), generator=noise(2), window=3, overlap=1)
    background = pipe.codec.encode_image(torch.tensor(clip_inputs(f=5)["background"]) / 127.5 - 1)
    with torch.no_grad():
        images = pipe.codec.decode(out.latents, background)
    assert_close(out.video, (images[:, 0] + 1) / 2, atol=1e-4, rtol=1e-3)
    if pipe.unet.config["num_modalities"] == 1:
        assert out.depth is None
        return
    person = decolorize_tensor(images[:, 1], "hot") >= 0.15
    assert ((out.depth > 0) == person).float().mean() > 0.999 and 0 < person.float().mean() < 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mini-flow", "stable-epsilon", "stable-background-control"])
def test_windows_of_a_network_without_time_equal_the_whole(kind):
    """Without temporal layers a frame does not see the others: windows must not change anything."""
    options = {"background": "controlnet"} if kind.endswith("control") else {}
    pipe = mini(temporal=None) if kind == "mini-flow" else stable(temporal=None, **options)
    inputs = clip_inputs(b=1, f=5)
    inputs["background"] = np.random.default_rng(1).integers(0, 256, (1, 5, 3, SIZE, SIZE), dtype=np.uint8)
    whole = pipe(**inputs, num_inference_steps=2, generator=noise(1))
    parts = pipe(**inputs, num_inference_steps=2, generator=noise(1), window=3, overlap=1)
    assert_close(parts.latents, whole.latents, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_callback_sees_every_step_and_may_change_the_latents(small):
    steps = []

    def stop_short(pipe, step, t, tensors):
        steps.append((step, float(t)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else None

    out = small(**clip_inputs(), callback_on_step_end=stop_short)
    assert [s for s, _ in steps] == [0, 1, 2] and steps[0][1] == 1000
    assert out.latents.abs().max() == 0


def test_a_callback_that_wants_no_latents_is_given_none(small):
    given = []

    def look(pipe, step, t, tensors):
        given.append(set(tensors))

    small(**clip_inputs(), callback_on_step_end=look, callback_on_step_end_tensor_inputs=())
    assert given == [{"decode"}] * 3


def test_a_callback_is_given_nothing_but_latents(small):
    with pytest.raises(ValueError, match="latents"):
        small(**clip_inputs(), callback_on_step_end_tensor_inputs=("prompt_embeds",))


def test_latents_counted_from_drafts_need_a_network_that_takes_them():
    pipe = mini(draft=True)
    latents = {**pipe.config["latent_config"], "latent_reference": "draft"}
    IdolPipeline(**pipe.components, latent_config=latents)
    with pytest.raises(ValueError, match="latent_reference is draft"):
        IdolPipeline(**mini().components, latent_config=latents)


def test_progress_counts_windows_and_looks_at_depth(small):
    """Seven frames in windows of three that share two: five windows a step; then four parts of depth."""
    progress = RecordedProgress()
    small.stream(
        **clip_inputs(b=1, f=7),
        num_inference_steps=2,
        window=3,
        overlap=2,
        decode_chunk=2,
        progress=progress,
    )
    assert progress.steps == [(i, 14) for i in range(1, 15)]
    progress.steps.clear()
    small.stream(**clip_inputs(b=1), progress=progress)
    assert progress.steps == [(1, 3), (2, 3), (3, 3)]


def test_output_as_numpy_and_as_a_tuple(small):
    video, depth, latents = small(**clip_inputs(), output_type="np", return_dict=False)
    assert isinstance(video, np.ndarray) and isinstance(depth, np.ndarray) and latents.shape[1] == 2


@pytest.mark.slow
def test_autocast_stays_close_to_float32(small):
    exact = small(**clip_inputs(), generator=noise(2))
    small.defaults, kept = GenerationConfig(**{**DEFAULTS, "autocast": True}), small.defaults
    try:
        rough = small(**clip_inputs(), generator=noise(2))
    finally:
        small.defaults = kept
    assert rough.latents.dtype == torch.float32
    assert (rough.video - exact.video).abs().mean() < 0.05
    assert not torch.equal(rough.video, exact.video)


WRONG = [
    (dict(foreground=np.zeros((80, 70), np.uint8)), "foreground"),
    (dict(foreground=np.full((2, 3, 80, 70), np.nan, np.float32)), "foreground"),
    (dict(foreground=np.full((2, 3, 80, 70), 7.0, np.float32)), "foreground"),
    (dict(foreground=object()), "foreground"),
    (dict(foreground=np.zeros((2, 3, 80, 70), np.int64)), "foreground"),
    (dict(foreground_mask=np.zeros((2, 80, 70), bool)), "foreground"),
    (dict(foreground_mask=np.ones((2, 40, 70), bool)), "foreground_mask"),
    (dict(background=np.zeros((3, 3, SIZE, SIZE), np.uint8)), "background"),
    (dict(background=np.zeros((2, 9, 3, SIZE, SIZE), np.uint8)), "background"),
    (dict(pose=np.zeros((2, 2, 3, 32, 32), np.uint8)), "pose"),
    (dict(pose=[keypoints(2), keypoints(3)]), "pose"),
    (dict(pose=[keypoints(2)] * 3), "pose"),
    (dict(foreground_pose=joints(1)), "foreground_pose"),
    (dict(foreground_pose=keypoints(2)), "foreground"),
    (dict(generator=noise(3)), "generator"),
    (dict(height=72), "height"),
    (dict(width=0), "width"),
    (dict(num_inference_steps=0), "num_inference_steps"),
    (dict(guidance_scale=-5.0), "guidance_scale"),
    (dict(guidance_scale=float("nan")), "guidance_scale"),
    (dict(detail="sharp"), "detail"),
    (dict(decode_chunk=0), "decode_chunk"),
    (dict(output_type="pil"), "output_type"),
    (dict(window=4, overlap=4), "window"),
    (dict(video=torch.zeros(2, 1, 3, SIZE, SIZE)), "video"),
    (dict(depth=torch.zeros(2, 2, 8, 8)), "depth"),
    (dict(depth=torch.full((2, 2, SIZE, SIZE), torch.nan)), "depth"),
    (dict(depth=torch.full((2, 2, SIZE, SIZE), 5.0)), "depth"),
    (dict(video=torch.zeros(2, 2, 3, SIZE, SIZE), depth=torch.zeros(2, 2, SIZE, SIZE)), "video, depth"),
]


@pytest.mark.parametrize("wrong, argument", WRONG)
def test_inputs_that_do_not_fit_are_named(small, wrong, argument):
    with pytest.raises(UserError) as error:
        small(**{**clip_inputs(), **wrong})
    assert error.value.argument == argument


def test_an_index_of_earlier_versions_is_read(tmp_path):
    """Fields of latent_config had other names, and classes the paths of their files."""
    pipe, inputs = mini(draft=True), clip_inputs()
    pipe.register_to_config(latent_config={**pipe.config["latent_config"], "latent_reference": "draft"})
    pipe.save_pretrained(tmp_path)
    path = tmp_path / "model_index.json"
    index = json.loads(path.read_text())
    latents = index["latent_config"]
    latents["offset"], latents["colour_map"] = latents.pop("latent_reference"), latents.pop("colormap")
    index["unet"] = ["idol.model.unet", "UnifiedUNet"]
    path.write_text(json.dumps(index))
    again = IdolPipeline.from_pretrained(tmp_path)
    assert again.codec_config.latent_reference == "draft" and again.codec_config.colormap == "hot"
    again.set_progress_bar_config(disable=True)
    expected = IdolPipeline(
        **pipe.components, **{k: pipe.config[k] for k in ("latent_config", "generation_config")}
    )
    expected.set_progress_bar_config(disable=True)
    made = [p(**inputs, foreground_pose=joints(), generator=noise(2)).video for p in (again, expected)]
    assert torch.equal(*made)


@pytest.mark.parametrize(
    "options, produces", [({}, True), ({"num_modalities": 1}, False)], ids=["both", "video alone"]
)
def test_a_pipeline_says_whether_it_produces_depth(options, produces):
    pipe = mini(**options)
    assert pipe.produces_depth == pipe.unet.produces_depth == produces
    assert (pipe(**clip_inputs(), num_inference_steps=1).depth is not None) == produces


def test_impossible_generation_configs_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        GenerationConfig(window=4, overlap=4)
