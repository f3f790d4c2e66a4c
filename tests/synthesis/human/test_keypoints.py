"""The 133 joints: consistent with the 18, mirror symmetric, of human proportions, and on the person."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.spatial import ConvexHull, Delaunay

from idol.body.motion import Motion
from idol.body.phenotype import Phenotype
from idol.body.retarget import retarget
from idol.body.rig import Body
from idol.clip import Clip, Pose
from idol.pose.joints import COCO_17, OPENPOSE_18, WHOLEBODY_133, body_18, mirrored
from idol.synthesis.clips import read_motions, visible_joints
from idol.synthesis.human.body import base_mesh, rig, shape_body
from idol.synthesis.human.keypoints import FACE_VERTICES, FINGERTIPS, whole_body_points
from idol.synthesis.rendering.camera import SceneCamera, look_at
from idol.synthesis.rendering.rasterizer import Rendering

pytestmark = pytest.mark.assets

FACE = slice(23, 91)
HANDS = {"left": slice(91, 112), "right": slice(112, 133)}
SIZE, FRAMES = 128, 2


def phenotype(gender: float, weight: float, height: float) -> Phenotype:
    return Phenotype(gender, 0.75, 0.5, weight, height, 0.5, 0.4, 0.6, 0.34, 0.33, 0.33)


@pytest.fixture(scope="module")
def bodies() -> list[Body]:
    return [shape_body(phenotype(*shape)) for shape in ((0.0, 0.3, 0.7), (0.5, 0.5, 0.5), (1.0, 0.8, 0.3))]


@pytest.fixture(scope="module")
def stretch() -> Motion:
    motion = next(m for m in read_motions("train") if m.name == "humanoid3d_spinkick")
    return motion.at(np.linspace(0.2, 0.8 * motion.seconds, 4), 10.0)


@pytest.fixture(scope="module")
def clips() -> list[tuple[Clip, Clip]]:
    """The same clips with 18 and with 133 joints."""
    from idol.synthesis import make_clip

    def drawn(index: int, joints: str) -> Clip:
        return make_clip(3, index, size=SIZE, frames=FRAMES, joints=joints)  # type: ignore[arg-type]

    return [(drawn(index, "body"), drawn(index, "whole-body")) for index in (0, 1, 2, 3)]


def at_rest(body: Body) -> dict[str, np.ndarray]:
    """Joints (3,) of a body at rest by name: every bone's rotation is the identity, its shift 0."""
    points = whole_body_points(body)
    return dict(zip(WHOLEBODY_133, points.position.sum(1), strict=True))


def flat(points: np.ndarray) -> Pose:
    """Points (f, 133, 2) in meters as a pose whose middle column is x = 0."""
    xy = np.stack([100 * points[..., 0] + 199.5, 100 * points[..., 1], np.ones(points.shape[:2])], -1)
    return Pose(xy.astype(np.float32), 400, 400)


def test_every_joint_is_a_mean_of_points_that_move_with_bones(bodies):
    points = whole_body_points(bodies[0])
    assert points.share.shape == (133, len(rig().bones)) and points.share.min() >= 0
    np.testing.assert_allclose(points.share.sum(1), 1, atol=1e-6)


def test_vertices_are_mirror_images_of_each_other():
    vertices = base_mesh().vertices
    assert len(set(FACE_VERTICES)) == 68
    flip = np.array([-1, 1, 1])
    left, right = vertices[list(FINGERTIPS["left"])], vertices[list(FINGERTIPS["right"])]
    np.testing.assert_allclose(left, right * flip, atol=1e-6)
    points = np.zeros((1, 133, 2))
    for axes in ([0, 1], [0, 2]):
        points[0, FACE] = vertices[list(FACE_VERTICES)][:, axes]
        pose = flat(points)
        np.testing.assert_allclose(mirrored(pose).keypoints[:, FACE], pose.keypoints[:, FACE], atol=1e-3)


def test_mirrored_motion_gives_mirrored_joints(bodies, stretch):
    body = bodies[1]
    points = whole_body_points(body)
    one = points.posed(retarget(stretch, body, (0.4, 1.0)))
    other = points.posed(retarget(stretch.mirrored(), body, (1.0, 0.4)))
    for axes in ([0, 1], [0, 2]):
        found, expected = flat(other[..., axes]).keypoints, mirrored(flat(one[..., axes])).keypoints
        np.testing.assert_allclose(found, expected, atol=0.1)  # a millimeter


def test_hands_have_human_proportions_in_every_pose(bodies, stretch):
    for body in bodies:
        points = whole_body_points(body).posed(retarget(stretch, body, (0.2, 1.2)))
        joint = dict(zip(WHOLEBODY_133, np.moveaxis(points, 1, 0), strict=True))
        for side in HANDS:
            wrist = joint[f"{side}_wrist"]
            np.testing.assert_array_equal(joint[f"{side}_hand_root"], wrist)
            forearm = np.linalg.norm(wrist - joint[f"{side}_elbow"], axis=-1)
            hand = joint[f"{side}_hand_middle_1"] - wrist
            # from the wrist to the knuckle: two fifths of a forearm
            assert 0.25 < (np.linalg.norm(hand, axis=-1) / forearm).min() < 0.6
            for finger in ("thumb", "index", "middle", "ring", "little"):
                chain = np.stack([joint[f"{side}_hand_{finger}_{i}"] for i in range(1, 5)])
                bones = np.linalg.norm(np.diff(chain, axis=0), axis=-1)
                assert 0.012 < bones.min() and bones.max() < 0.07
                np.testing.assert_allclose(bones, bones[:, :1].repeat(bones.shape[1], 1), rtol=0.02)
                assert np.linalg.norm(chain - wrist, axis=-1).max() < 0.25


def test_straight_fingers_lie_in_order(bodies):
    for body in bodies:
        joint = at_rest(body)
        for side in HANDS:
            wrist = joint[f"{side}_hand_root"]
            for finger in ("index", "middle", "ring", "little"):
                reach = [np.linalg.norm(joint[f"{side}_hand_{finger}_{i}"] - wrist) for i in range(1, 5)]
                assert (np.diff(reach) > 0.01).all()
            across = joint[f"{side}_hand_little_1"] - joint[f"{side}_hand_index_1"]
            names = ("thumb_2", "index_1", "middle_1", "ring_1", "little_1")
            rank = [joint[f"{side}_hand_{name}"] @ across for name in names]
            assert (np.diff(rank) > 0).all()


def test_feet_point_forward_and_stand_on_the_floor(bodies):
    for body in bodies:
        joint = at_rest(body)
        for side, sign in (("left", 1), ("right", -1)):
            big, small, heel = (joint[f"{side}_{part}"] for part in ("big_toe", "small_toe", "heel"))
            ankle = joint[f"{side}_ankle"]
            assert big[2] > small[2] > ankle[2] > heel[2]
            assert 0 < sign * big[0] < sign * small[0]
            assert max(big[1], small[1], heel[1]) < ankle[1] and min(big[1], small[1], heel[1]) >= 0
            assert 0.18 < big[2] - heel[2] < 0.3


def test_face_is_in_the_order_of_300_w(bodies):
    for body in bodies:
        face = np.stack(list(at_rest(body).values()))[FACE]
        x, y, z = face.T
        np.testing.assert_allclose(face, body.vertices[list(FACE_VERTICES)], atol=1e-6)
        for row in (range(2, 15), range(17, 27), range(31, 36), range(48, 55), range(60, 65)):
            assert (np.diff(x[list(row)]) > 0).all()  # from the person's right, which is at -x, to the left
        assert (np.diff(y[:9]) < 0).all() and (np.diff(y[27:31]) < 0).all() and y.argmin() == 8
        assert z[27:36].argmax() == 3 and z.argmax() == 30  # the tip of the nose
        brow, eye, nose, mouth = y[17:27], y[36:48], y[30:36], y[48:68]
        assert brow.min() > eye.max() > eye.min() > nose.max() and nose.min() > mouth.max()
        for corner in (36, 42):
            upper, lower = face[corner + 1 : corner + 3], face[corner + 4 : corner + 6][::-1]
            assert 0.003 < (upper - lower)[:, 1].min() and np.abs((upper - lower)[:, 0]).max() < 0.005
        assert 0.02 < np.ptp(x[42:46]) < 0.045 and 0.03 < np.ptp(x[48:60]) < 0.07
        assert Delaunay(face[48:60, :2]).find_simplex(face[60:68, :2]).min() >= 0  # lips within lips


def test_face_lies_round_the_eyes_and_the_nose(bodies):
    for body in bodies:
        joint = at_rest(body)
        face = np.stack([joint[f"face_{i}"] for i in range(68)])
        for side, ring in (("right", slice(36, 42)), ("left", slice(42, 48))):
            assert np.linalg.norm(face[ring, :2].mean(0) - joint[f"{side}_eye"][:2]) < 0.006
        assert np.linalg.norm(joint["nose"] - face[30]) < 0.02
        assert Delaunay(face[ConvexHull(face[:, :2]).vertices, :2]).find_simplex(joint["nose"][:2]) >= 0
        assert np.abs(face[[0, 16], 0]).min() < abs(joint["left_ear"][0])  # the jaw starts before the ears
        assert np.linalg.norm(face - joint["nose"], axis=-1).max() < 0.16


def test_body_is_that_of_the_clip_with_18_joints(clips):
    neck = OPENPOSE_18.index("neck")
    others = [i for i in range(18) if i != neck]
    for few, many in clips:
        np.testing.assert_array_equal(many.video, few.video)
        np.testing.assert_array_equal(many.depth, few.depth)
        found, expected = body_18(many.pose).keypoints, few.pose.keypoints
        np.testing.assert_allclose(found[:, others], expected[:, others], atol=1e-3)
        shoulders = many.pose.keypoints[:, [COCO_17.index(f"{s}_shoulder") for s in ("left", "right")]]
        for k in np.flatnonzero(shoulders[..., 2].all(1)):
            np.testing.assert_allclose(found[k, neck, :2], shoulders[k, :, :2].mean(0), atol=1e-4)
            # the neck of the 18 is their middle in space, so nearly so in the image
            np.testing.assert_allclose(found[k, neck, :2], expected[k, neck, :2], atol=3)


def test_hands_and_face_lie_on_the_person(clips):
    inside = {"hand": [], "face": []}
    for _, clip in clips:
        for mask, points in zip(clip.mask, clip.pose.keypoints, strict=True):
            near = binary_dilation(mask, iterations=2)
            for part, rows in (("face", FACE), ("hand", HANDS["left"]), ("hand", HANDS["right"])):
                for x, y, confidence in points[rows]:
                    if confidence > 0:
                        inside[part].append(near[int(round(y)), int(round(x))])
    for part in inside.values():
        assert len(part) > 100 and np.mean(part) > 0.99


def test_hidden_joints_follow_the_rule_of_the_body():
    """Before a wall at 5 m: a joint may lie deeper than the surface, but a point of the face only by 6 cm."""
    eye = np.array([0.0, 1.0, 5.0])
    camera = SceneCamera(eye, look_at(eye, np.array([0.0, 1.0, 0.0])), 100.0, 64)
    wall = Rendering(
        np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 5.0, np.float32), np.zeros((64, 64), bool)
    )
    seen = {
        behind: visible_joints(camera, np.tile([0.0, 1.0, -behind], (133, 1)), wall, 0.3)[:, 2] > 0
        for behind in (0.05, 0.1, 0.32, 0.4)
    }
    on_face = np.array(
        [n.startswith(("nose", "face")) or n.endswith(("_eye", "_ear")) for n in WHOLEBODY_133]
    )
    hips = np.array([n.endswith("_hip") for n in WHOLEBODY_133])
    assert seen[0.05].all()
    np.testing.assert_array_equal(seen[0.1], ~on_face)
    np.testing.assert_array_equal(seen[0.32], hips)
    assert not seen[0.4].any()
