"""The real estimators on the bundled photos and videos."""

import numpy as np
import pytest
from PIL import Image

from idol import media
from idol.clip import Pose
from idol.clip.images import read_image
from idol.clip.video import write_video
from idol.errors import UserError
from idol.pose.joints import OPENPOSE_18, mirrored
from idol.prepare.background import load_background
from idol.prepare.estimators.registry import mask_estimator, pose_estimator
from idol.prepare.motion import load_motion
from idol.prepare.person import confident_people, load_person

JOINT = {name: i for i, name in enumerate(OPENPOSE_18)}


def test_unknown_estimators():
    with pytest.raises(UserError, match="estimator.*rtmpose"):
        pose_estimator("openpose")
    with pytest.raises(UserError, match="mask.*mediapipe"):
        mask_estimator("sam")


@pytest.mark.assets
@pytest.mark.parametrize("name", media.PEOPLE)
def test_person_of_each_photo(name):
    person = load_person(media.path(name))
    _, height, width = person.image.shape
    assert person.mask.shape == (height, width)
    assert 0.05 < person.mask.mean() < 0.3
    assert person.pose.visible.all()
    x, y = person.pose.keypoints[0, :, :2].round().astype(int).T
    assert person.mask[y.clip(0, height - 1), x.clip(0, width - 1)].sum() >= 16  # joints lie on the person
    ankles, nose = person.pose.keypoints[0, [10, 13], 1], person.pose.keypoints[0, 0, 1]
    assert (ankles > nose).all()


@pytest.mark.assets
def test_the_woman_is_where_she_is():
    """Joints read off the image by eye."""
    person = load_person(media.path("woman-walking.jpg"))
    seen = {
        "nose": (252, 137),
        "left_wrist": (372, 300),
        "right_wrist": (182, 272),
        "left_ankle": (203, 470),
        "right_ankle": (358, 472),
    }
    for joint, place in seen.items():
        found = person.pose.keypoints[0, JOINT[joint], :2]
        assert np.linalg.norm(found - place) < 12, (joint, found)


@pytest.mark.assets
@pytest.mark.parametrize("name", ["rtmpose", "mediapipe"])
def test_the_mirror_image_has_the_mirrored_pose(name):
    image = read_image(media.path("man-standing.jpg"))
    here, there = (pose_estimator(name).estimate(i[None])[0][0] for i in (image, image[:, :, ::-1]))
    _, height, width = image.shape
    back = mirrored(Pose(there.keypoints[None], height, width)).keypoints[0]
    assert np.median(np.linalg.norm(back[:, :2] - here.keypoints[:, :2], axis=-1)) < 5


@pytest.mark.assets
def test_two_estimators_agree():
    image = read_image(media.path("woman-by-a-wall.jpg"))[None]
    a, b = (pose_estimator(name).estimate(image)[0][0].keypoints for name in ("rtmpose", "mediapipe"))
    assert np.median(np.linalg.norm(a[:, :2] - b[:, :2], axis=-1)) < 0.03 * 560


@pytest.mark.assets
def test_several_people():
    photo = media.path("two-people.jpg")
    largest, second = load_person(photo), load_person(photo, 1)
    assert "2 people" in largest.notes[0] and second.notes == ()
    assert not (largest.mask & second.mask).any()
    np.testing.assert_array_equal(load_person(photo, 0).mask, largest.mask)
    with pytest.raises(UserError, match=r"person_index: 2, but the photo shows 2.*from 0 to 1"):
        load_person(photo, 2)
    with pytest.raises(UserError, match="person_index"):
        load_person(photo, -1)


@pytest.mark.assets
def test_nobody(tmp_path):
    Image.new("RGB", (300, 200), "skyblue").save(tmp_path / "sky.png")
    for photo in (tmp_path / "sky.png", media.path("palace.jpg"), media.path("park.jpg")):
        with pytest.raises(UserError, match=r"person: .*no person found"):
            load_person(photo)


def test_bad_photos(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff not an image")
    with pytest.raises(UserError, match=r"person: .*a\.jpg"):
        load_person(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="person: nobody.png: no such file"):
        load_person("nobody.png")


@pytest.mark.assets
def test_mask_of_nobody_is_empty_and_of_the_largest_is_not():
    frames = np.stack([read_image(media.path("man-standing.jpg")), np.full((3, 520, 520), 90, np.uint8)])
    masks = mask_estimator("mediapipe").estimate(frames)
    assert masks.shape == (2, 520, 520) and masks[0].mean() > 0.05 and masks[1].max() == 0


@pytest.mark.assets
def test_the_main_person_of_a_video(tmp_path):
    photo = read_image(media.path("two-people.jpg"))
    write_video(tmp_path / "pan.mp4", np.stack([photo[:, :, 4 * i : 4 * i + 920] for i in range(6)]), 10)
    motion = load_motion(tmp_path / "pan.mp4", max_frames=6, fps=10)
    assert motion.pose.frames == 6 and motion.fps == 10 and motion.audio is None
    assert "2 people" in motion.notes[0]
    assert motion.pose.visible.all()
    assert motion.pose.keypoints[:, JOINT["neck"], 0].max() < 400  # the nearer of the two, all the time


@pytest.mark.assets
def test_a_video_of_nobody(tmp_path):
    write_video(tmp_path / "sky.mp4", np.full((5, 3, 64, 64), 200, np.uint8), 25)
    with pytest.raises(UserError, match=r"motion: .*sky\.mp4: no person in any of 5 frames"):
        load_motion(tmp_path / "sky.mp4")


@pytest.mark.assets
def test_nobody_is_left_in_the_photos_own_background():
    person = load_person(media.path("woman-walking.jpg"))
    plate = load_background("photo", 256, 256, person)
    assert plate.shape == (3, 256, 256)
    assert confident_people(pose_estimator("rtmpose").estimate(plate[None])[0]) == []


@pytest.mark.assets
@pytest.mark.parametrize("name", ["woman-walking.jpg", "woman-by-a-wall.jpg"])
def test_another_estimators_joints_show_the_mask_network_where_to_look(name):
    from idol.prepare.estimators.blazepose import _landmarks, crop_of_person

    image = read_image(media.path(name))
    person = confident_people(pose_estimator("rtmpose").estimate(image[None])[0])[0]
    usual = mask_estimator("mediapipe").estimate(image[None], [person])[0] > 0.5
    other = _landmarks(image, crop_of_person(person))[1] > 0.5
    assert (usual & other).sum() / (usual | other).sum() > 0.9
