"""The reduced body: human proportions, mirror symmetry, and agreement with the full model."""

import numpy as np
import pytest

from idol.body.model import byte_planes, from_byte_planes, load_body
from idol.body.phenotype import ADULT, AVERAGE_ADULT, Phenotype
from idol.body.rig import BonePoses
from idol.body.rotations import from_vector
from idol.pose.joints import OPENPOSE_18, WHOLEBODY_133


def still(count: int) -> BonePoses:
    return BonePoses(np.tile(np.eye(3), (1, count, 1, 1)), np.zeros((1, count, 3)))


def test_average_adult_stands_upright_on_the_floor():
    model = load_body()
    body = model.average
    skin = body.vertices[: model.skin_vertices]
    assert skin[:, 1].min() == pytest.approx(0, abs=1e-6)
    assert 1.55 < skin[:, 1].max() < 1.85
    at = dict(zip(OPENPOSE_18, model.body_points(body).posed(still(163))[0], strict=True))
    assert at["left_shoulder"][0] > 0.1 > -0.1 > at["right_shoulder"][0]
    assert at["nose"][2] > at["left_ear"][2] and at["nose"][1] > at["neck"][1] > at["left_hip"][1]
    assert at["left_hip"][1] > at["left_knee"][1] > at["left_ankle"][1] > 0.03


def test_both_joint_sets_agree():
    model = load_body()
    eighteen = model.body_points(model.average).posed(still(163))[0]
    whole = model.whole_body_points(model.average).posed(still(163))[0]
    for i, name in enumerate(OPENPOSE_18):
        if name != "neck":
            np.testing.assert_allclose(whole[WHOLEBODY_133.index(name)], eighteen[i], atol=1e-4)


def test_twins_are_mirror_images():
    model = load_body()
    skin = model.average.vertices[: model.skin_vertices]
    np.testing.assert_array_equal(model.twins[model.twins], np.arange(model.skin_vertices))
    np.testing.assert_allclose(skin[model.twins], skin * [-1, 1, 1], atol=2e-3)


def test_rotation_of_bones_rotates_the_body():
    model = load_body()
    turn = from_vector(np.array([0.2, 1.0, -0.3]))
    poses = still(163).turned(turn).moved(np.array([0.1, 0.2, 0.3]))
    skin = model.average.vertices[: model.skin_vertices]
    posed = model.posed(model.average, poses)
    np.testing.assert_allclose(posed[0], skin @ turn.T + [0.1, 0.2, 0.3], atol=2e-6)
    normals = model.normals(posed)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    at_rest = model.normals(model.posed(model.average, still(163)))
    np.testing.assert_allclose(normals[0], at_rest[0] @ turn.T, atol=1e-3)
    outward = ((skin - skin.mean(0)) * at_rest[0]).sum(-1)
    assert (outward > 0).mean() > 0.55


def test_parameters_change_the_body_as_named():
    model = load_body()

    def height(**changed: float) -> float:
        return float(model.shaped(Phenotype(**(vars(AVERAGE_ADULT) | changed))).vertices[:, 1].max())

    def girth(**changed: float) -> float:
        body = model.shaped(Phenotype(**(vars(AVERAGE_ADULT) | changed)))
        skin = body.vertices[: model.skin_vertices]
        waist = (np.abs(skin[:, 1] - body.head("spine04")[1]) < 0.02) & (np.abs(skin[:, 0]) < 0.05)
        return float(np.ptp(skin[waist, 2]))

    assert height(height=1.0) > height() + 0.05 > height(height=0.0) + 0.1
    assert girth(weight=1.0) > girth() + 0.005 > girth(weight=0.0)
    with pytest.raises(ValueError, match="minor"):
        height(age=ADULT - 0.1)


def test_byte_planes_invert():
    values = np.array([[-32768, -257, -1], [0, 255, 32767]], np.int16)
    np.testing.assert_array_equal(from_byte_planes(byte_planes(values)), values)


@pytest.mark.assets
def test_reduced_body_agrees_with_the_full_one():
    """Agree within 1 mm for people of the training set, and within 1 cm for all adults."""
    from idol.synthesis.human.body import rig, shape_body
    from idol.synthesis.human.export_body import any_adult, kept_vertices
    from idol.synthesis.human.keypoints import whole_body_points
    from idol.synthesis.human.person import random_phenotype

    model, kept = load_body(), kept_vertices()
    assert model.rig.bones == rig().bones and model.rig.parents == rig().parents
    assert np.abs(model.rig.weights - rig().weights[kept]).max() < 1e-4
    rng = np.random.default_rng(99)
    usual = [random_phenotype(rng, i % 2 == 0, ("african", "asian", "caucasian")[i % 3]) for i in range(12)]
    cases = [(adult, 1e-3, 2e-4) for adult in (AVERAGE_ADULT, *usual)]
    cases += [(any_adult(rng), 1e-2, 5e-4) for _ in range(12)]
    for adult, most, on_average in cases:
        reduced, full = model.shaped(adult), shape_body(adult)
        away = np.linalg.norm(reduced.vertices - full.vertices[kept], axis=1)
        assert away.max() < most and away.mean() < on_average
        assert np.abs(reduced.heads - full.heads).max() < most
        joints = [
            points.position.sum(1) for points in (model.whole_body_points(reduced), whole_body_points(full))
        ]
        np.testing.assert_allclose(*joints, atol=most)
