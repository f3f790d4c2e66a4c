"""Selection and images of training samples.

A sample has an index, counted over the whole run. The index and the seed alone decide its clip, window,
reference frame and augmentation (`choose_sample`), so any process can make any sample, in any order, and a
run that is stopped and resumed sees the same data as an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8
from numpy.random import Generator

from idol.body.draft import avatar_draft
from idol.clip import Clip, Pose
from idol.clip.depth import colorize
from idol.data.augment import (
    Box,
    OutpaintingConfig,
    crop_resize,
    crop_resize_image,
    crop_resize_mask,
    flip,
    foreground_box,
    outpaint_background,
    square_box,
)
from idol.pose import skeleton
from idol.pose.foreground_crop import GRAY, foreground_crop


@dataclass(frozen=True)
class ImageConfig:
    """Conversion of a clip to images; with the autoencoder it decides the content of the latent cache.

    Attributes:
        size: Height and width of frames and backgrounds, pixels.
        foreground_size: Height and width of the reference image, pixels.
        modalities: 2 for video and depth, 1 for video only (attribute pre-training).
        colormap: Colormap of the depth images.
        stacked: Store depth as three additional channels of every image, in one modality (LDM3D).
        foreground: Reference image: a square crop around the person, or the whole frame; gray outside of the
            person in both.
        foreground_margin: Margin around the person in the crop, as a fraction of the crop's side.
        background: The clip's background without the person (`clean`), or the frame itself with a gray hole
            over the person (`hole`; attribute pre-training).
        outpainting: Dilation of the hole and crop of the foreground; used with `background: hole`.
        draft: Also make the draft: the reference's person warped onto the frames' skeletons
            (`idol.body.draft`).
        other_clip_probability: With a draft, probability in [0, 1] that the reference comes from another clip
            of the same person, if there is one.
        crop_scale: Range of the side of a random square crop, as a fraction of the frame's shorter side;
            (1, 1) is the largest centered square.
    """

    size: int = 256
    foreground_size: int = 128
    modalities: Literal[1, 2] = 2
    colormap: Literal["hot", "gray"] = "hot"
    stacked: bool = False
    foreground: Literal["crop", "frame"] = "crop"
    foreground_margin: float = 0.1
    background: Literal["clean", "hole"] = "clean"
    outpainting: OutpaintingConfig = field(default_factory=OutpaintingConfig)
    draft: bool = False
    other_clip_probability: float = 0.25
    crop_scale: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if self.stacked and self.modalities != 2:
            raise ValueError("stacked images have depth: modalities must be 2")

    @staticmethod
    def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a saved config by their present names."""
        renamed = {"margin": "foreground_margin", "other_clip": "other_clip_probability"}
        fields = {renamed.get(name, name): value for name, value in values.items()}
        return fields | ({"background": "clean"} if fields.get("background") == "plate" else {})

    @property
    def latent_modalities(self) -> int:
        """Modalities of the latents: 1 where depth is stacked onto the frames."""
        return 1 if self.stacked else self.modalities


@dataclass(frozen=True)
class WindowConfig:
    """Selection of the frames of a sample from its clip.

    Attributes:
        frames: Frames of a sample; 1 for images.
        interval: Distance between consecutive frames of a sample, frames of the clip.
        reference: Frame that shows the person's appearance: a `random` other one, the clip's `first`, or the
            `same` frame as the sample's first.
    """

    frames: int = 1
    interval: int = 1
    reference: Literal["random", "first", "same"] = "random"

    def __post_init__(self) -> None:
        if self.frames < 1 or self.interval < 1:
            raise ValueError(f"frames and interval must be at least 1, got {self.frames}, {self.interval}")

    @property
    def span(self) -> int:
        """Frames of the clip from the first to the last of a sample, both included."""
        return (self.frames - 1) * self.interval + 1


@dataclass(frozen=True)
class SkeletonConfig:
    """Drawing style of skeletons.

    Attributes:
        stick_width: Width of limbs, pixels at the model's size.
        radius: Radius of joints, pixels at the model's size.
        parts: `whole_body` also draws hands and face of poses that have them (DWPose).
    """

    stick_width: float = 2.5
    radius: float = 2.5
    parts: skeleton.Parts = "body"

    def draw(self, pose: Pose, size: int) -> UInt8[np.ndarray, "f 3 s s"]:
        """Draw the skeleton of every frame of a pose.

        Args:
            pose: Joints.
            size: Height and width of the images, pixels.
        """
        return skeleton.draw(pose, size, size, **vars(self), at="model")


@dataclass(frozen=True)
class SampleImages:
    """Images of some frames of a clip, and of the person in some reference frames.

    Channels k are 3, or 6 where depth is stacked onto the colors.

    Attributes:
        video: Frames.
        depth: Colored depth; None with one modality.
        background: One image (g = 1), or one per frame (g = f).
        pose: Joints of the frames.
        foreground: Reference images.
        foreground_mask: True on the person of the reference images.
        foreground_pose: Joints of the reference images.
        draft: Person of the first reference in the frames' poses, in every modality; None without drafts.
    """

    video: UInt8[np.ndarray, "f k h w"]
    depth: UInt8[np.ndarray, "f 3 h w"] | None
    background: UInt8[np.ndarray, "g k h w"]
    pose: Pose
    foreground: UInt8[np.ndarray, "r k s s"]
    foreground_mask: Bool[np.ndarray, "r s s"]
    foreground_pose: Pose
    draft: UInt8[np.ndarray, "m f k h w"] | None = None

    def stacked(self, empty: UInt8[np.ndarray, " 3"]) -> SampleImages:
        """Append depth to the channels of every image.

        Args:
            empty: Color of depth 0, which background and foreground get.
        """
        assert self.depth is not None
        no_depth = empty[:, None, None]
        background, foreground = (
            np.concatenate([x, np.broadcast_to(no_depth, x.shape)], 1)
            for x in (self.background, self.foreground)
        )
        # m f 3 h w -> 1 f (m 3) h w
        draft = None if self.draft is None else np.concatenate(list(self.draft), 1)[None]
        video = np.concatenate([self.video, self.depth], 1)
        return dataclasses.replace(
            self, video=video, depth=None, background=background, foreground=foreground, draft=draft
        )


@dataclass(frozen=True)
class SampleChoice:
    """Clip and frames of one sample.

    Attributes:
        clip: Index of the clip.
        frames: Indices of the frames.
        reference: Index of the frame that shows the person.
    """

    clip: int
    frames: tuple[int, ...]
    reference: int


def choose_sample(
    index: int, seed: int, lengths: Int[np.ndarray, " clips"], window: WindowConfig
) -> SampleChoice:
    """Choose clip, frames and reference frame of a sample.

    Every clip comes once in each epoch, and every epoch has its own order.

    Args:
        index: Sample index, counted over the whole run from 0.
        seed: Seed of the run.
        lengths: Frames of each clip; all at least `window.span`.
        window: Selection of the frames.
    """
    clips = len(lengths)
    # a permutation per epoch, not independent draws: all clips are seen equally often
    clip = int(_order(seed, index // clips, clips)[index % clips])
    rng = generator(seed, index)
    length = int(lengths[clip])
    start = int(rng.integers(length - window.span + 1))
    frames = tuple(range(start, start + window.span, window.interval))
    match window.reference:
        case "first":
            reference = 0
        case "same":
            reference = frames[0]
        case "random":
            # a clip of one frame is its own reference
            others = [f for f in range(length) if f not in frames[:1]] or [0]
            reference = others[int(rng.integers(len(others)))]
    return SampleChoice(clip, frames, reference)


def generator(seed: int, *numbers: int) -> Generator:
    """Return a generator that is independent for each combination of its arguments.

    Args:
        seed: Seed of the run.
        numbers: Further non-negative integers, such as a sample index and a purpose.
    """
    return np.random.default_rng((seed, *numbers))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, clips: int) -> np.ndarray:
    # four numbers: independent of the generators of samples, which have two or three
    return generator(seed, epoch, clips, 1).permutation(clips)


def make_images(
    clip: Clip,
    frames: Sequence[int],
    references: Sequence[int],
    config: ImageConfig,
    rng: Generator,
    mirrored: bool = False,
    person: Clip | None = None,
) -> SampleImages:
    """Make the images of some frames and reference frames of a clip.

    Args:
        clip: Clip of any size; a square of it is resized to `config.size`.
        frames: Indices of the frames to learn.
        references: Indices of the reference frames; one without the person is replaced by the nearest frame
            with it.
        config: Sizes and augmentation.
        rng: Draws crops and dilation; the same state gives the same images.
        mirrored: Mirror all images left to right.
        person: Clip of the reference frames, if it is not `clip`.

    Raises:
        UserError: If depth is asked for and the clip has none.
        ValueError: If no frame shows the person.
    """
    clip = _square(clip, config, rng, mirrored)
    person = clip if person is None else _square(person, config, rng, mirrored)
    frames, shown = list(frames), [nearest_visible_frame(person.mask, frame) for frame in references]
    # the order of draws from `rng` (person, then background) is part of the result
    persons = [_person(person, frame, config, rng) for frame in shown]
    colored = None
    if config.modalities == 2:
        colored = colorize(clip.require_depth()[frames], config.colormap)
    made = SampleImages(
        video=clip.video[frames],
        depth=colored,
        background=_background(clip, frames, config, rng),
        pose=clip.pose.select(frames),
        foreground=np.stack([image for image, _, _ in persons]),
        foreground_mask=np.stack([mask for _, mask, _ in persons]),
        foreground_pose=_joined([pose for _, _, pose in persons]),
        draft=_draft(person, shown[0], clip, frames, config) if config.draft else None,
    )
    if not config.stacked:
        return made
    return made.stacked(colorize(np.zeros((1, 1), np.float32), config.colormap)[:, 0, 0])


def other_clips(subjects: Sequence[str]) -> list[list[int]]:
    """List for each clip the other clips of its subject; none where the subject is unknown ("")."""
    by_subject: dict[str, list[int]] = {}
    for i, subject in enumerate(subjects):
        by_subject.setdefault(subject, []).append(i)
    return [[j for j in by_subject[subject] if j != i and subject] for i, subject in enumerate(subjects)]


def choose_clip(others: Sequence[int], config: ImageConfig, rng: Generator) -> int | None:
    """Choose the clip of the reference frame.

    Args:
        others: Indices of the other clips of the same person.
        config: Probability of another clip.
        rng: Draws the choice; not advanced without drafts.

    Returns:
        Index of another clip, or None for the sample's own clip.
    """
    elsewhere = config.draft and rng.random() < config.other_clip_probability
    return int(rng.choice(others)) if elsewhere and others else None


def nearest_visible_frame(mask: Bool[np.ndarray, "f h w"], frame: int) -> int:
    """Return the frame nearest to `frame` that shows the person.

    Args:
        mask: True on the person.
        frame: Index of the wanted frame.

    Raises:
        ValueError: If no frame shows the person.
    """
    seen = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(seen):
        raise ValueError("no frame of the clip shows a person")
    return int(seen[np.abs(seen - frame).argmin()])


def _square(clip: Clip, config: ImageConfig, rng: Generator, mirrored: bool) -> Clip:
    random_crop = config.crop_scale != (1.0, 1.0)
    box = square_box(clip.height, clip.width, config.crop_scale, rng if random_crop else None)
    return crop_resize(flip(clip) if mirrored else clip, box, config.size)


def _draft(person: Clip, reference: int, clip: Clip, frames: list[int], config: ImageConfig) -> np.ndarray:
    """Make the draft from a crop of the frames' size, as at inference."""
    pose = person.pose.select([reference])
    crop = foreground_crop(
        person.video[reference], person.mask[reference], pose, config.size, config.foreground_margin
    )
    background = clip.background if clip.background.ndim == 3 else clip.background[frames]
    made = avatar_draft(*crop, clip.pose.select(frames), background)
    return np.stack([made.video, colorize(made.depth, config.colormap)][: config.modalities])


def _background(clip: Clip, frames: list[int], config: ImageConfig, rng: Generator) -> np.ndarray:
    if config.background == "hole":
        return np.stack(
            [outpaint_background(clip.video[f], clip.mask[f], rng, config.outpainting) for f in frames]
        )
    return clip.background[None] if clip.background.ndim == 3 else clip.background[frames]


def _person(
    clip: Clip, frame: int, config: ImageConfig, rng: Generator
) -> tuple[np.ndarray, np.ndarray, Pose]:
    image, mask, pose = clip.video[frame], clip.mask[frame], clip.pose.select([frame])
    side = config.foreground_size
    if config.foreground == "crop" and config.background == "clean":
        return foreground_crop(image, mask, pose, side, config.foreground_margin)  # as at inference, exactly
    if config.foreground == "crop":
        image, mask, pose = foreground_crop(image, mask, pose, config.size, config.foreground_margin)
    else:
        image = np.where(mask, image, np.uint8(GRAY))
    outpainted = config.background == "hole"
    box: Box = (
        foreground_box(config.size, rng, config.outpainting)
        if outpainted
        else (0, 0, config.size, config.size)
    )
    image, mask = crop_resize_image(image, box, side), crop_resize_mask(mask, box, side)
    return image, mask, pose.cropped(*box).resized(side, side)


def _joined(poses: list[Pose]) -> Pose:
    return dataclasses.replace(poses[0], keypoints=np.concatenate([pose.keypoints for pose in poses]))
