"""Keypoint files in OpenPose's format: one JSON file per frame."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from idol.clip import Pose
from idol.errors import UserError
from idol.pose.joints import body_18, from_coco17

# Rows of BODY_25 that make up OpenPose-18: BODY_25 has a middle hip at 8, which shifts the rows after it.
_BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)


def write_openpose_json(folder: str | Path, pose: Pose) -> None:
    """Write keypoints as OpenPose does: one JSON file per frame, joints in `people[0].pose_keypoints_2d`.

    The size of the frames, which OpenPose omits, is added as `canvas_height` and `canvas_width`. Of a
    whole-body pose only the 18 body joints are written.

    Args:
        folder: Folder of the files `00000_keypoints.json` and so on.
        pose: The pose.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i, joints in enumerate(body_18(pose).keypoints):
        people = [{"pose_keypoints_2d": joints.reshape(-1).tolist()}] if joints[:, 2].any() else []
        record = {"canvas_height": pose.height, "canvas_width": pose.width, "people": people}
        (folder / f"{i:05d}_keypoints.json").write_text(json.dumps(record))


def read_openpose_json(folder: str | Path, height: int | None = None, width: int | None = None) -> Pose:
    """Read a folder of OpenPose's JSON files, one per frame in the natural order of their names.

    Persons of 18 (COCO model), 25 (BODY_25) and 17 joints (COCO's own order) are accepted, also as bare lists
    of persons with `keypoints`. Of several persons the one whose joints span the largest box is taken.

    Args:
        folder: The folder.
        height: Height of the frames in pixels, if the files do not state it.
        width: Width of the frames in pixels, if the files do not state it.

    Returns:
        The pose, 18 joints; a frame without a person has no visible joint.

    Raises:
        UserError: If there is no JSON file, one cannot be parsed, or the size of the frames is not known.
    """
    paths = sorted(Path(folder).glob("*.json"), key=_natural_order)
    if not paths:
        raise UserError(
            str(folder), "no .json files", "give a folder of OpenPose keypoints, one file per frame"
        )
    records = [_read_json(path) for path in paths]
    first = records[0] if isinstance(records[0], dict) else {}
    height, width = height or first.get("canvas_height"), width or first.get("canvas_width")
    if height is None or width is None:
        raise UserError(str(folder), "no canvas_height and canvas_width", "add them to the first file")
    frames = [_largest(record, path) for record, path in zip(records, paths, strict=True)]
    return Pose(np.stack(frames), int(height), int(width))


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts frame10 after frame9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as wrong:
        raise UserError(str(path), f"not readable as JSON ({wrong})", "give OpenPose's JSON files") from wrong


def _largest(record: Any, path: Path) -> np.ndarray:
    """Return the joints (18, 3) of the person who spans the largest box, zeros if there is none."""
    people = record.get("people", []) if isinstance(record, dict) else record
    try:
        bodies = [_body_of(person) for person in people]
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise UserError(
            str(path), f"no OpenPose keypoints ({wrong})", "give OpenPose's JSON files"
        ) from wrong
    return max(bodies, key=_box_area, default=np.zeros((18, 3), np.float32))


def _body_of(person: dict[str, Any]) -> np.ndarray:
    """Return the joints (18, 3) of one person's record, which may be in any of the three layouts."""
    flat = person["pose_keypoints_2d"] if "pose_keypoints_2d" in person else person["keypoints"]
    joints = np.array(flat, np.float32).reshape(-1, 3)
    joints[~np.isfinite(joints).all(axis=1)] = 0
    match len(joints):
        case 17:
            return from_coco17(joints[None], 1, 1).keypoints[0]
        case 18:
            body = joints
        case 25:
            body = joints[list(_BODY_25)]
        case n:
            raise ValueError(f"{n} joints per person, expected 17, 18 or 25")
    body[:, 2] = body[:, 2].clip(0, 1)
    return np.where(body[:, 2:] > 0, body, 0)


def _box_area(body: np.ndarray) -> float:
    seen = body[body[:, 2] > 0, :2]
    return float(np.prod(np.ptp(seen, axis=0) + 1)) if len(seen) else 0.0
