"""Synthetic clips: a person performs a motion in a scene and is rendered with depth, mask and joints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from idol.assets import asset_path
from idol.body.motion import Motion
from idol.body.retarget import retarget
from idol.body.rig import BonePoses
from idol.body.rotations import from_vector
from idol.clip import Clip, Pose
from idol.clip.depth import normalize_person, normalize_scene
from idol.errors import UserError
from idol.pose.joints import OPENPOSE_18, WHOLEBODY_133
from idol.synthesis.choices import DepthOf, JointSet
from idol.synthesis.human.keypoints import whole_body_points
from idol.synthesis.human.person import SyntheticPerson, make_person
from idol.synthesis.motion.augment import Style, is_upright, perform
from idol.synthesis.motion.readers import read_motion
from idol.synthesis.rendering.camera import SceneCamera
from idol.synthesis.rendering.camera_effects import CameraEffects, random_camera_effects
from idol.synthesis.rendering.framing import frame_points
from idol.synthesis.rendering.rasterizer import Rasterizer, Rendering
from idol.synthesis.scene.scene import Scene, add_background_depth, make_scene
from idol.synthesis.splits import Split, generator, motion_files, split_of_motion

CLIPS_PER_PERSON = 4
STYLES: dict[Split, Style] = {
    "train": Style(),
    "val": Style(mix=0.35, invent=0.1, wander=0.7),
    "test": Style(mix=0.35, invent=0.1, wander=0.7),
}
_PERSON, CLIP_STREAM = 0, 1  # separate random streams
ATTEMPTS = 10
"""Performances that are tried until one shows the person well."""

_NAMES = {len(names): names for names in (OPENPOSE_18, WHOLEBODY_133)}
_ON_FACE = {
    k: [i for i, n in enumerate(names) if n.startswith(("nose", "face_")) or n.endswith(("_eye", "_ear"))]
    for k, names in _NAMES.items()
}
_ON_HIPS = {k: [i for i, name in enumerate(names) if name.endswith("_hip")] for k, names in _NAMES.items()}
_HIPS = [OPENPOSE_18.index("right_hip"), OPENPOSE_18.index("left_hip")]
_LEGS = [OPENPOSE_18.index(f"{s}_{p}") for s in ("right", "left") for p in ("knee", "ankle")]


@dataclass(frozen=True)
class Performance:
    """What the person does in a clip.

    Attributes:
        poses: Bone transforms of f frames.
        motion: The motion they come from.
        joints: (f, 18, 3) OpenPose joints in meters.
        upper_only: Whether the camera shows the upper body only.
    """

    poses: BonePoses
    motion: Motion
    joints: np.ndarray
    upper_only: bool


@lru_cache(2)
def _rasterizer(size: int) -> Rasterizer:
    return Rasterizer(size)


def motion_paths(split: Split, motion_dir: Path | None = None) -> list[Path]:
    """List the motion files of a split: those of the packages and those below `motion_dir`.

    Args:
        split: The split.
        motion_dir: Folder of more motion files, or None.

    Raises:
        UserError: If `motion_dir` is not a folder.
    """
    folders = [asset_path("deepmimic-motions"), asset_path("isaaclab-motions")]
    if motion_dir is not None:
        if not motion_dir.is_dir():
            raise UserError("motion_dir", f"{motion_dir} is not a folder", "give a folder of motion files")
        folders.append(motion_dir)
    return [path for path in motion_files(folders) if split_of_motion(path.stem) == split]


@lru_cache(4)
def read_motions(split: Split, motion_dir: Path | None = None) -> tuple[Motion, ...]:
    """Read all motions of a split, once per process.

    Args:
        split: The split.
        motion_dir: Folder of more motion files, or None.

    Raises:
        UserError: If `motion_dir` is not a folder, or a file in it cannot be read.
    """
    return tuple(read_motion(path) for path in motion_paths(split, motion_dir))


@lru_cache(2)
def synthetic_person(seed: int, split: Split, number: int) -> SyntheticPerson:
    """Make one person of a set.

    Args:
        seed: Seed of the set.
        split: Split of the set.
        number: Index of the person: the index of the clip divided by `CLIPS_PER_PERSON`.
    """
    return make_person(generator(seed, split, _PERSON, number), f"synth-{split}-{seed}-{number:06d}")


def make_clip(
    seed: int,
    index: int,
    *,
    size: int = 256,
    frames: int = 8,
    split: Split = "train",
    motion_dir: Path | None = None,
    depth: DepthOf = "person",
    joints: JointSet = "body",
) -> Clip:
    """Make one clip of the unlimited set that `seed` and `split` define.

    The same arguments give the same clip, in any order and any process, on the same OpenGL implementation.
    Four consecutive clips show the same person.

    Args:
        seed: Seed of the set, at least 0.
        index: Index of the clip in the set, at least 0.
        size: Height and width of the frames in pixels.
        frames: Number of frames, at least 2.
        split: Split whose people and motions are used.
        motion_dir: Folder of more motion files, which are also divided among the splits.
        depth: Depth of the person alone or of the whole scene; nothing else differs.
        joints: OpenPose's 18 joints or the 133 of the whole body; nothing else differs.

    Returns:
        A clip with depth, its metric range, mask, joints and the scene's background.

    Raises:
        UserError: If `motion_dir` cannot be read, or no OpenGL context can be created.
        RuntimeError: If no attempt shows the person.
    """
    person = synthetic_person(seed, split, index // CLIPS_PER_PERSON)
    motions = read_motions(split, motion_dir)
    rasterizer = _rasterizer(size)
    rasterizer.load_person(person)
    for attempt in range(ATTEMPTS):
        rng = generator(seed, split, CLIP_STREAM, index, attempt)
        performance = perform_clip(rng, person, motions, frames, STYLES[split])
        clip = _render(rng, rasterizer, person, performance, depth, joints)
        if clip is not None:
            return replace(clip, source=f"synth {split} {seed} {index} {performance.motion.name}")
    raise RuntimeError(f"clip {index} of seed {seed} ({split}) shows nobody after {ATTEMPTS} attempts")


def perform_clip(
    rng: np.random.Generator, person: SyntheticPerson, motions: tuple[Motion, ...], frames: int, style: Style
) -> Performance:
    """Pose the person on the floor, facing the camera more often than not.

    Args:
        rng: Random generator of the clip.
        person: The person.
        motions: Recorded motions to draw from.
        frames: Number of frames.
        style: How far performances depart from the recordings.
    """
    motion = perform(rng, motions, frames, style)
    poses = retarget(motion, person.body, tuple(rng.uniform(0.1, 1.4, 2)))
    facing = poses.rotation[:, 0, :, 2].mean(0)
    turn = rng.uniform(-0.9, 0.9) if rng.uniform() < 0.65 else rng.uniform(-np.pi, np.pi)
    # Mean heading of the root over the clip; rotation about y only.
    angle = turn - np.arctan2(facing[0], facing[2])
    poses = poses.turned(from_vector(np.array([0.0, angle, 0.0])))
    leg = float(person.body.head("upperleg01.L")[1])
    # The lowest vertex touches the floor, or floats as far as the recording does.
    up = motion.clearance * leg - person.lowest(poses)
    poses = poses.moved(np.stack([np.zeros(frames), up, np.zeros(frames)], -1))
    joints = person.keypoints.posed(poses)
    middle = (joints.min((0, 1)) + joints.max((0, 1))) / 2
    by = np.array([-middle[0], 0.0, -middle[2]])
    upper_only = bool(rng.uniform() < 0.2) and is_upright(motion)
    return Performance(poses.moved(by), motion, joints + by, upper_only)


def clip_camera(
    rng: np.random.Generator, performance: Performance, person: SyntheticPerson, size: int
) -> SceneCamera:
    """Place the camera of a clip so that it contains the person.

    Args:
        rng: Random generator of the clip, as `perform_clip` leaves it.
        performance: What the person does.
        person: The person.
        size: Height and width of the frames in pixels.
    """
    return frame_points(rng, _outline(performance, person), size)


def _outline(performance: Performance, person: SyntheticPerson) -> np.ndarray:
    """Return the points (n, 3) that the camera must contain: bone heads and the crown of the head."""
    heads = performance.poses.heads(person.body)
    crown = performance.joints[:, :1] + np.array([0.0, 0.2, 0.0])
    if not performance.upper_only:
        return np.concatenate([heads.reshape(-1, 3), crown.reshape(-1, 3)])
    hips = performance.joints[:, _HIPS]
    above = heads[heads[..., 1] > hips[..., 1].min()]
    return np.concatenate([above, crown.reshape(-1, 3), hips.reshape(-1, 3)])


def _render(
    rng: np.random.Generator,
    rasterizer: Rasterizer,
    person: SyntheticPerson,
    performance: Performance,
    depth: DepthOf,
    joints: JointSet,
) -> Clip | None:
    """Render the frames and the background; None if too little (or too much) of the image is the person."""
    camera = clip_camera(rng, performance, person, rasterizer.size)
    heads = performance.poses.heads(person.body).reshape(-1, 3)
    box = np.stack([heads.min(0) - 0.15, heads.max(0) + 0.15])  # flesh and clothes around the bones
    scene = make_scene(rng, box, camera.eye, "room" if rng.uniform() < 0.6 else "panorama")
    rasterizer.set_scene(scene, camera)
    focus = (box.mean(0), float(np.linalg.norm(box[1] - box[0])) / 2 + 0.1)
    renderings = [
        rasterizer.draw(*person.skinned(performance.poses, k), focus) for k in range(len(performance.motion))
    ]
    mask = np.stack([rendering.mask for rendering in renderings])
    area = mask.mean((1, 2))
    if area.min() < 0.01 or area.max() > 0.7:
        return None
    effects, margin = random_camera_effects(rng, rasterizer.size), float(rng.uniform(0.18, 0.45))
    keypoints = _visible_joints(camera, performance.joints, renderings, margin)
    if (keypoints[..., 2] > 0).sum(1).min() < 5:
        return None
    if joints == "whole-body":
        keypoints = _visible_joints(
            camera, whole_body_points(person.body).posed(performance.poses), renderings, margin
        )
    clip = _record(effects, rasterizer, person, performance, renderings, keypoints)
    return clip if depth == "person" else _with_scene_depth(clip, scene, camera, renderings)


def _record(
    effects: CameraEffects,
    rasterizer: Rasterizer,
    person: SyntheticPerson,
    performance: Performance,
    renderings: list[Rendering],
    keypoints: np.ndarray,
) -> Clip:
    mask = np.stack([rendering.mask for rendering in renderings])
    depth, span = normalize_person(np.stack([rendering.z for rendering in renderings]), mask)
    return Clip(
        video=np.stack([effects.apply(rendering.image, k) for k, rendering in enumerate(renderings)]),
        depth=depth,
        mask=mask,
        pose=Pose(keypoints, rasterizer.size, rasterizer.size),
        background=effects.apply(rasterizer.background().image, len(renderings)),
        fps=performance.motion.fps,
        depth_range=span,
        subject=person.subject,
    )


def _with_scene_depth(clip: Clip, scene: Scene, camera: SceneCamera, renderings: list[Rendering]) -> Clip:
    z = add_background_depth(scene, camera, np.stack([rendering.z for rendering in renderings]), clip.mask)
    depth, span = normalize_scene(z)
    return replace(clip, depth=depth, depth_range=span, depth_kind="scene")


def _visible_joints(
    camera: SceneCamera, joints: Float[np.ndarray, "f k 3"], renderings: list[Rendering], margin: float
) -> Float32[np.ndarray, "f k 3"]:
    return np.stack(
        [visible_joints(camera, joints[i], rendering, margin) for i, rendering in enumerate(renderings)]
    )


def visible_joints(
    camera: SceneCamera, joints: Float[np.ndarray, "k 3"], rendering: Rendering, margin: float
) -> Float32[np.ndarray, "k 3"]:
    """Project joints and test which of them are visible.

    A joint is hidden outside the image, or behind a surface nearer by more than a margin:
    6 cm on the face, `margin` elsewhere, as joints lie inside the body.

    Args:
        camera: The camera.
        joints: (k, 3) in meters; k is 18 (OpenPose) or 133 (whole body).
        rendering: The rendered frame, whose depth is tested.
        margin: In meters.

    Returns:
        (k, 3) float32 x, y in pixels and 1 for visible joints, all 0 for the others.
    """
    at = camera.project(joints)
    size = camera.size
    inside = (at[:, :2] > -0.5).all(1) & (at[:, :2] < size - 0.5).all(1)
    # Depth of the farthest of 3 x 3 pixels: at silhouettes the joint's own pixel may show the foreground.
    x, y = (np.clip(np.rint(at[:, k]), 1, size - 2).astype(int) for k in (0, 1))
    around = np.stack([rendering.z[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    allowed = np.full(len(joints), margin)
    allowed[_ON_FACE[len(joints)]] = 0.06
    allowed[_ON_HIPS[len(joints)]] += 0.05
    seen = inside & (at[:, 2] < around.max(0) + allowed)
    return np.where(seen[:, None], np.concatenate([at[:, :2], np.ones((len(at), 1))], 1), 0).astype(
        np.float32
    )
