"""A synthetic clip: a person performs in a scene; out come video, depth, mask, joints and clean plate."""

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
from idol.clip.depth import normalise_person, normalise_scene
from idol.errors import UserError
from idol.pose.skeleton import OPENPOSE_18, WHOLEBODY_133
from idol.synthesis.choices import DepthOf, JointSet
from idol.synthesis.human.keypoints import whole_body_points
from idol.synthesis.human.person import Person, make_person
from idol.synthesis.motion.augment import Style, is_upright, perform
from idol.synthesis.motion.readers import read_motion
from idol.synthesis.rendering.camera import Camera
from idol.synthesis.rendering.camera_effects import Film, random_film
from idol.synthesis.rendering.framing import frame_points
from idol.synthesis.rendering.rasterizer import Raster, Rendering
from idol.synthesis.scene.scene import Scene, make_scene, with_surroundings
from idol.synthesis.splits import Split, generator, motion_files, split_of_motion

CLIPS_PER_PERSON = 4
STYLES: dict[Split, Style] = {
    "train": Style(),
    "val": Style(mix=0.35, invent=0.1, wander=0.7),
    "test": Style(mix=0.35, invent=0.1, wander=0.7),
}
_PERSON, _CLIP = 0, 1  # kinds of random streams
_TRIES = 10
_NAMES = {len(names): names for names in (OPENPOSE_18, WHOLEBODY_133)}
_ON_FACE = {
    k: [i for i, n in enumerate(names) if n.startswith(("nose", "face_")) or n.endswith(("_eye", "_ear"))]
    for k, names in _NAMES.items()
}
_ON_HIPS = {k: [i for i, name in enumerate(names) if name.endswith("_hip")] for k, names in _NAMES.items()}
_HIPS = [OPENPOSE_18.index("right_hip"), OPENPOSE_18.index("left_hip")]
_LEGS = [OPENPOSE_18.index(f"{s}_{p}") for s in ("right", "left") for p in ("knee", "ankle")]


@dataclass(frozen=True)
class Take:
    """One clip decided upon, before it is drawn."""

    poses: BonePoses
    motion: Motion
    joints: np.ndarray
    upper_only: bool


@lru_cache(2)
def _raster(size: int) -> Raster:
    return Raster(size)


def motion_paths(split: Split, motion_dir: Path | None = None) -> list[Path]:
    """The motion files of a split: the packages' and those below `motion_dir`.

    Raises:
        UserError: If `motion_dir` is not a folder.
    """
    folders = [asset_path("deepmimic-motions"), asset_path("isaaclab-motions")]
    if motion_dir is not None:
        if not motion_dir.is_dir():
            raise UserError("--motion-dir", f"{motion_dir} is not a folder", "give a folder of motion files")
        folders.append(motion_dir)
    return [path for path in motion_files(folders) if split_of_motion(path.stem) == split]


@lru_cache(4)
def motions_of(split: Split, motion_dir: Path | None = None) -> tuple[Motion, ...]:
    """All motions of a split, read once a process.

    Raises:
        UserError: If `motion_dir` is not a folder, or a file in it cannot be read.
    """
    return tuple(read_motion(path) for path in motion_paths(split, motion_dir))


@lru_cache(2)
def _person(seed: int, split: Split, number: int) -> Person:
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
    """Clip number `index` of the endless set that `seed` and `split` name.

    The same arguments give the same clip, in any order and any process, on the same OpenGL implementation.
    Four consecutive clips show the same person.

    Args:
        seed: Of the set.
        index: From 0 on.
        size: Pixels along a side.
        frames: Frames in the clip, at least 2.
        split: Whose people and motions to use.
        motion_dir: More motion files, also divided among the splits.
        depth: Of the person alone, or of the whole scene; nothing else differs.
        joints: OpenPose's 18, or the 133 of the whole body; nothing else differs.

    Returns:
        A clip with depth of that kind, metric range, joints and a clean plate.
    """
    person = _person(seed, split, index // CLIPS_PER_PERSON)
    motions = motions_of(split, motion_dir)
    raster = _raster(size)
    raster.load_person(person)
    for attempt in range(_TRIES):
        rng = generator(seed, split, _CLIP, index, attempt)
        take = _direct(rng, person, motions, frames, STYLES[split])
        clip = _shoot(rng, raster, person, take, depth, joints)
        if clip is not None:
            return replace(clip, source=f"synth {split} {seed} {index} {take.motion.name}")
    raise RuntimeError(f"clip {index} of seed {seed} ({split}) shows nobody after {_TRIES} attempts")


def _direct(
    rng: np.random.Generator, person: Person, motions: tuple[Motion, ...], frames: int, style: Style
) -> Take:
    """Let the person perform on the floor, turned towards the camera more often than not."""
    motion = perform(rng, motions, frames, style)
    poses = retarget(motion, person.body, tuple(rng.uniform(0.1, 1.4, 2)))
    facing = poses.rotation[:, 0, :, 2].mean(0)
    turn = rng.uniform(-0.9, 0.9) if rng.uniform() < 0.65 else rng.uniform(-np.pi, np.pi)
    angle = turn - np.arctan2(facing[0], facing[2])
    poses = poses.turned(from_vector(np.array([0.0, angle, 0.0])))
    leg = float(person.body.head("upperleg01.L")[1])
    up = motion.clearance * leg - person.lowest(poses)
    poses = poses.moved(np.stack([np.zeros(frames), up, np.zeros(frames)], -1))
    joints = person.keypoints.posed(poses)
    middle = (joints.min((0, 1)) + joints.max((0, 1))) / 2
    by = np.array([-middle[0], 0.0, -middle[2]])
    upper_only = bool(rng.uniform() < 0.2) and is_upright(motion)
    return Take(poses.moved(by), motion, joints + by, upper_only)


def _outline(take: Take, person: Person) -> np.ndarray:
    """Points (n, 3) that the camera must hold: joints, fingertips, toes and the crown of the head."""
    heads = take.poses.heads(person.body)
    crown = take.joints[:, :1] + np.array([0.0, 0.2, 0.0])
    if not take.upper_only:
        return np.concatenate([heads.reshape(-1, 3), crown.reshape(-1, 3)])
    hips = take.joints[:, _HIPS]
    above = heads[heads[..., 1] > hips[..., 1].min()]
    return np.concatenate([above, crown.reshape(-1, 3), hips.reshape(-1, 3)])


def _shoot(
    rng: np.random.Generator, raster: Raster, person: Person, take: Take, depth: DepthOf, joints: JointSet
) -> Clip | None:
    """Draw the frames and the plate; None if the person is hardly in the picture."""
    camera = frame_points(rng, _outline(take, person), raster.size)
    heads = take.poses.heads(person.body).reshape(-1, 3)
    box = np.stack([heads.min(0) - 0.15, heads.max(0) + 0.15])
    scene = make_scene(rng, box, camera.eye, "room" if rng.uniform() < 0.6 else "panorama")
    raster.set_stage(scene, camera)
    focus = (box.mean(0), float(np.linalg.norm(box[1] - box[0])) / 2 + 0.1)
    shots = [raster.draw(*person.skinned(take.poses, k), focus) for k in range(len(take.motion))]
    mask = np.stack([shot.mask for shot in shots])
    area = mask.mean((1, 2))
    if area.min() < 0.01 or area.max() > 0.7:
        return None
    film, margin = random_film(rng, raster.size), float(rng.uniform(0.18, 0.45))
    keypoints = _see_all(camera, take.joints, shots, margin)
    if (keypoints[..., 2] > 0).sum(1).min() < 5:
        return None
    if joints == "whole-body":
        keypoints = _see_all(camera, whole_body_points(person.body).posed(take.poses), shots, margin)
    clip = _record(film, raster, person, take, shots, keypoints)
    return clip if depth == "person" else _with_scene_depth(clip, scene, camera, shots)


def _record(
    film: Film,
    raster: Raster,
    person: Person,
    take: Take,
    shots: list[Rendering],
    keypoints: np.ndarray,
) -> Clip:
    mask = np.stack([shot.mask for shot in shots])
    depth, span = normalise_person(np.stack([shot.z for shot in shots]), mask)
    return Clip(
        video=np.stack([film.expose(shot.image, k) for k, shot in enumerate(shots)]),
        depth=depth,
        mask=mask,
        pose=Pose(keypoints, raster.size, raster.size),
        background=film.expose(raster.plate().image, len(shots)),
        fps=take.motion.fps,
        depth_range=span,
        subject=person.subject,
    )


def _with_scene_depth(clip: Clip, scene: Scene, camera: Camera, shots: list[Rendering]) -> Clip:
    z = with_surroundings(scene, camera, np.stack([shot.z for shot in shots]), clip.mask)
    depth, span = normalise_scene(z)
    return replace(clip, depth=depth, depth_range=span, depth_kind="scene")


def _see_all(
    camera: Camera, joints: Float[np.ndarray, "f k 3"], shots: list[Rendering], margin: float
) -> Float32[np.ndarray, "f k 3"]:
    return np.stack([see_joints(camera, joints[i], shot, margin) for i, shot in enumerate(shots)])


def see_joints(
    camera: Camera, joints: Float[np.ndarray, "k 3"], shot: Rendering, margin: float
) -> Float32[np.ndarray, "k 3"]:
    """(k, 3) float32 of x, y in pixels and 1 where the joint is seen, all 0 where it is not.

    A joint is not seen outside the picture, or behind something that is nearer by more than a margin: a few
    centimetres on the face, `margin` (metres) elsewhere, for joints lie inside the body. k is 18 or 133.
    """
    at = camera.project(joints)
    size = camera.size
    inside = (at[:, :2] > -0.5).all(1) & (at[:, :2] < size - 0.5).all(1)
    x, y = (np.clip(np.rint(at[:, k]), 1, size - 2).astype(int) for k in (0, 1))
    around = np.stack([shot.z[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    allowed = np.full(len(joints), margin)
    allowed[_ON_FACE[len(joints)]] = 0.06
    allowed[_ON_HIPS[len(joints)]] += 0.05
    seen = inside & (at[:, 2] < around.max(0) + allowed)
    return np.where(seen[:, None], np.concatenate([at[:, :2], np.ones((len(at), 1))], 1), 0).astype(
        np.float32
    )
