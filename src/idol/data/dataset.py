"""From clips to the images a training sample is made of, and which image each sample gets.

A sample has a number, counted over the whole run. The number and the seed alone decide which clip, window,
reference frame and augmentation it is (`draw`), so any process can make any sample, in any order, and a run
that is stopped and resumed sees what an uninterrupted one would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8
from numpy.random import Generator

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
from idol.pose.limb_warp import draft


@dataclass(frozen=True)
class ImageConfig:
    """How a clip becomes images; together with the autoencoder it decides what the latent cache holds."""

    size: int = 256
    """Height and width of frames and backgrounds, pixels."""
    foreground_size: int = 128
    """Height and width of the reference image, pixels."""
    modalities: Literal[1, 2] = 2
    """2 for video and depth, 1 for video alone (attribute pre-training)."""
    colormap: Literal["hot", "gray"] = "hot"
    """Color map of the depth images."""
    stacked: bool = False
    """Depth as three channels more of every image, in one stream (LDM3D)."""
    foreground: Literal["crop", "frame"] = "crop"
    """The reference: a square crop round the person, or the whole frame; gray outside of the person."""
    margin: float = 0.1
    """Room round the person in the crop, as a fraction of its side."""
    background: Literal["plate", "hole"] = "plate"
    """The clean plate, or the frame itself with a hole over the person (attribute pre-training)."""
    outpainting: OutpaintingConfig = field(default_factory=OutpaintingConfig)
    """Dilation of the hole and crop of the foreground; used with `background: hole`."""
    draft: bool = False
    """Also draw the draft: the reference's person laid onto the frames' skeletons (`idol.pose.limb_warp`)."""
    other_clip: float = 0.25
    """With a draft, share of samples whose reference is from another clip of the person, if there is one."""
    crop_scale: tuple[float, float] = (1.0, 1.0)
    """Range of the side of the random square, of the frame's shorter side; (1, 1) is the middle square."""

    def __post_init__(self) -> None:
        if self.stacked and self.modalities != 2:
            raise ValueError("stacked images have depth: modalities must be 2")

    @property
    def streams(self) -> int:
        """Streams of latents that these images become."""
        return 1 if self.stacked else self.modalities


@dataclass(frozen=True)
class WindowConfig:
    """Which frames of a clip a sample takes."""

    frames: int = 1
    """Frames of a sample: 1 for images."""
    interval: int = 1
    """Distance of neighboring frames of a sample."""
    reference: Literal["random", "first", "same"] = "random"
    """The frame that shows the person: another one, the clip's first, or the sample's own first frame."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.interval < 1:
            raise ValueError(f"frames and interval must be at least 1, got {self.frames}, {self.interval}")

    @property
    def span(self) -> int:
        """Frames from the first to the last of a sample."""
        return (self.frames - 1) * self.interval + 1


@dataclass(frozen=True)
class SkeletonConfig:
    """How poses are drawn, pixels at the model's size."""

    stick_width: float = 2.5
    radius: float = 2.5
    parts: skeleton.Parts = "body"
    """whole_body draws hands and face of poses that have them (DWPose)."""

    def draw(self, pose: Pose, size: int) -> UInt8[np.ndarray, "f 3 s s"]:
        """Skeleton images of every frame of a pose."""
        return skeleton.draw(pose, size, size, **vars(self), at="model")


@dataclass(frozen=True)
class Images:
    """The images of some frames of a clip, and of the person in some reference frames of it.

    k is 3, or 6 where depth is stacked behind the colors.
    """

    video: UInt8[np.ndarray, "f k h w"]
    depth: UInt8[np.ndarray, "f 3 h w"] | None
    """Depth in colors; None with one stream."""
    background: UInt8[np.ndarray, "g k h w"]
    """One image, or one a frame."""
    pose: Pose
    foreground: UInt8[np.ndarray, "r k s s"]
    foreground_mask: Bool[np.ndarray, "r s s"]
    foreground_pose: Pose
    draft: UInt8[np.ndarray, "m f k h w"] | None = None
    """The first reference's person in the frames' poses, in every modality; None without."""

    def stacked(self, empty: UInt8[np.ndarray, " 3"]) -> Images:
        """Depth behind the colors of every image; `empty` is the color of no depth."""
        assert self.depth is not None
        nobody = empty[:, None, None]
        background, foreground = (
            np.concatenate([x, np.broadcast_to(nobody, x.shape)], 1)
            for x in (self.background, self.foreground)
        )
        draft = None if self.draft is None else np.concatenate(list(self.draft), 1)[None]
        video = np.concatenate([self.video, self.depth], 1)
        return dataclasses.replace(
            self, video=video, depth=None, background=background, foreground=foreground, draft=draft
        )


@dataclass(frozen=True)
class Draw:
    """What a sample's number decides."""

    clip: int
    frames: tuple[int, ...]
    reference: int


def draw(number: int, seed: int, lengths: Int[np.ndarray, " clips"], window: WindowConfig) -> Draw:
    """Choose clip, frames and reference frame of sample `number`.

    Every clip comes once in each round of as many samples as there are clips, in an order of its own.

    Args:
        number: Counted over the whole run, from 0.
        seed: Of the run.
        lengths: Frames of each clip; all at least `window.span`.
        window: How frames are taken.
    """
    clips = len(lengths)
    clip = int(_order(seed, number // clips, clips)[number % clips])
    rng = generator(seed, number)
    length = int(lengths[clip])
    start = int(rng.integers(length - window.span + 1))
    frames = tuple(range(start, start + window.span, window.interval))
    match window.reference:
        case "first":
            reference = 0
        case "same":
            reference = frames[0]
        case "random":
            others = [f for f in range(length) if f not in frames[:1]] or [0]
            reference = others[int(rng.integers(len(others)))]
    return Draw(clip, frames, reference)


def generator(seed: int, *numbers: int) -> Generator:
    """Independent random numbers for each (seed, numbers...)."""
    return np.random.default_rng((seed, *numbers))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, clips: int) -> np.ndarray:
    return generator(seed, epoch, clips, 1).permutation(clips)


def images(
    clip: Clip,
    frames: Sequence[int],
    references: Sequence[int],
    config: ImageConfig,
    rng: Generator,
    mirrored: bool = False,
    person: Clip | None = None,
) -> Images:
    """The images of the chosen frames and reference frames of a clip.

    Args:
        clip: Any size; a square of it is resized to `config.size`.
        frames: Frames to learn.
        references: Frames that show the person; one without it gives way to the nearest with it.
        config: How images are made.
        rng: Draws crops, dilation and foreground crops; the same state gives the same images.
        mirrored: Left to right.
        person: The clip that the reference frames are of, if it is another one.
    """
    clip = _square(clip, config, rng, mirrored)
    person = clip if person is None else _square(person, config, rng, mirrored)
    frames, shown = list(frames), [showing(person.mask, frame) for frame in references]
    persons = [_person(person, frame, config, rng) for frame in shown]
    colored = None
    if config.modalities == 2:
        colored = colorize(clip.known_depth()[frames], config.colormap)
    made = Images(
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
    """For each clip the other clips of its subject; none where the subject is not named."""
    of: dict[str, list[int]] = {}
    for i, subject in enumerate(subjects):
        of.setdefault(subject, []).append(i)
    return [[j for j in of[subject] if j != i and subject] for i, subject in enumerate(subjects)]


def choose_clip(others: Sequence[int], config: ImageConfig, rng: Generator) -> int | None:
    """The other clip that the reference is taken from, or None for the clip itself."""
    elsewhere = config.draft and rng.random() < config.other_clip
    return int(rng.choice(others)) if elsewhere and others else None


def showing(mask: Bool[np.ndarray, "f h w"], frame: int) -> int:
    """The frame nearest to `frame` whose mask is not empty.

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
    """From a crop of the frames' size, as at inference."""
    pose = person.pose.select([reference])
    crop = foreground_crop(person.video[reference], person.mask[reference], pose, config.size, config.margin)
    background = clip.background if clip.background.ndim == 3 else clip.background[frames]
    made = draft(*crop, clip.pose.select(frames), background)
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
    if config.foreground == "crop" and config.background == "plate":
        return foreground_crop(image, mask, pose, side, config.margin)  # as at inference, to the pixel
    if config.foreground == "crop":
        image, mask, pose = foreground_crop(image, mask, pose, config.size, config.margin)
    else:
        image = np.where(mask, image, np.uint8(GRAY))
    outpainted = config.background == "hole"
    box = foreground_box(config.size, rng, config.outpainting) if outpainted else _whole(config.size)
    image, mask = crop_resize_image(image, box, side), crop_resize_mask(mask, box, side)
    return image, mask, pose.cropped(*box).resized(side, side)


def _whole(size: int) -> Box:
    return 0, 0, size, size


def _joined(poses: list[Pose]) -> Pose:
    return dataclasses.replace(poses[0], keypoints=np.concatenate([pose.keypoints for pose in poses]))
