"""The rasterizer against ray casting: a ball before a wall, its depth, mask, shadow and background."""

import numpy as np
import pytest
import scipy.sparse as sparse

from idol.errors import UserError
from idol.synthesis.clips import visible_joints
from idol.synthesis.human.person import MeshPart, SyntheticPerson
from idol.synthesis.rendering.camera import FAR, NEAR, SceneCamera, look_at
from idol.synthesis.rendering.framing import frame_points
from idol.synthesis.rendering.rasterizer import Rasterizer, Rendering
from idol.synthesis.scene.scene import Light, Quad, Scene, harmonics

SIZE = 96
CENTER, RADIUS = np.array([0.1, 1.0, 0.2]), 0.6
WALL_Z = -1.5
SUN = np.array([0.5, 0.6, 0.62]) / np.linalg.norm([0.5, 0.6, 0.62])


def ball(rings: int = 64, around: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (n, 3) and triangles of a ball."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, around), indexing="ij")
    normals = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(rings - 1), np.arange(around - 1), indexing="ij"))
    a, b = i * around + j, (i + 1) * around + j
    return normals.reshape(-1, 3), np.concatenate(
        [np.stack([a, b, a + 1], 1), np.stack([a + 1, b, b + 1], 1)]
    )


def ball_person() -> SyntheticPerson:
    normals, triangles = ball()
    white = np.full((2, 2, 4), 255, np.uint8)
    none = np.zeros((0, 3), np.float32)
    part = MeshPart("cloth", triangles.astype(np.int32), white, None)
    count = len(normals)
    return SyntheticPerson(
        subject="ball",
        body=None,  # type: ignore[arg-type]  # a ball has no bones
        parts=(part,),
        vertices=(CENTER + RADIUS * normals).astype(np.float32),
        normals=normals.astype(np.float32),
        uv=np.zeros((count, 2), np.float32),
        weights=sparse.csr_matrix((count, 1)),
        keypoints=None,  # type: ignore[arg-type]
        contact=none,
        credits=(),
    )


def wall() -> Scene:
    corners = np.array([[-9, -9, WALL_Z], [9, -9, WALL_Z], [9, 9, WALL_Z], [-9, 9, WALL_Z]], float)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    quad = Quad(corners, np.array([0.0, 0.0, 1.0]), uv, np.full((4, 4, 3), 180, np.uint8))
    light = Light(
        ambient=np.array([[0.4] * 3] + [[0.0] * 3] * 8),
        key=SUN,
        key_color=np.full(3, 0.8),
        fill=np.array([0.0, 1.0, 0.0]),
        fill_color=np.zeros(3),
        exposure=1.0,
        white=np.ones(3),
        occlusion=0.8,
    )
    return Scene("wall", (quad,), light)


@pytest.fixture(scope="module")
def camera() -> SceneCamera:
    eye = np.array([0.6, 1.4, 4.0])
    return SceneCamera(eye, look_at(eye, np.array([0.0, 1.0, 0.0])), 110.0, SIZE)


@pytest.fixture(scope="module")
def drawn(camera) -> tuple[Rendering, Rendering]:
    try:
        raster = Rasterizer(SIZE, 4)
    except UserError as missing:
        pytest.skip(str(missing))
    person = ball_person()
    raster.load_person(person)
    raster.set_scene(wall(), camera)
    rendering = raster.draw(person.vertices, person.normals, (CENTER, 1.0))
    return rendering, raster.background()


def rays(camera: SceneCamera) -> np.ndarray:
    """World directions (s, s, 3) of the pixels' centers, of view depth 1."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    center = SIZE / 2 - 0.5
    ones = np.ones_like(x)
    local = np.stack([(x - center) / camera.focal, (center - y) / camera.focal, -ones], -1)
    return local @ camera.view[:3, :3]


def hit_ball(origin: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Distance along `way` to the ball, NaN where it is missed."""
    to = origin - CENTER
    a, b, c = (way * way).sum(-1), (way * to).sum(-1), (to * to).sum(-1) - RADIUS**2
    with np.errstate(invalid="ignore"):
        return (-b - np.sqrt(b * b - a * c)) / a


def test_depth_and_mask_are_those_of_the_ball(camera, drawn):
    way = rays(camera)
    z = hit_ball(camera.eye, way)  # directions have view depth 1, so this is depth
    expected = ~np.isnan(z)
    rendering, _ = drawn
    edge = np.zeros_like(expected)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        edge |= np.roll(expected, (dy, dx), (0, 1)) != expected
    np.testing.assert_array_equal(rendering.mask[~edge], expected[~edge])
    inside = expected & ~edge
    # the mean depth of a pixel's samples curves away from its center's by millimeters near the rim
    middle = inside & (z < np.nanmin(z) + 0.25)
    assert np.abs(rendering.z - z)[middle].max() < 2e-3
    assert np.abs(rendering.z - z)[inside].max() < 0.06


def test_depth_of_the_wall_is_a_plane(camera, drawn):
    way = rays(camera)
    z = (WALL_Z - camera.eye[2]) / way[..., 2]
    rendering, background = drawn
    far = np.abs(background.z - z).max()
    assert far < 1e-3 and not background.mask.any()
    outside = np.isnan(hit_ball(camera.eye, way)) & ~rendering.mask
    rim = np.zeros_like(outside)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            rim |= np.roll(rendering.mask, (dy, dx), (0, 1))
    assert np.abs(rendering.z - z)[outside & ~rim].max() < 1e-3


def test_projection_agrees_with_the_matrices_of_the_rasterizer(camera):
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3)) + [0, 1, 0]
    clip = np.c_[points, np.ones(20)] @ camera.view.T @ camera.projection.T
    ndc = clip[:, :3] / clip[:, 3:]
    found = camera.project(points)
    np.testing.assert_allclose(found[:, 0], (ndc[:, 0] + 1) * SIZE / 2 - 0.5)
    np.testing.assert_allclose(found[:, 1], (1 - ndc[:, 1]) * SIZE / 2 - 0.5)
    np.testing.assert_allclose(found[:, 2], 2 * FAR * NEAR / (FAR + NEAR - ndc[:, 2] * (FAR - NEAR)))


def test_the_balls_middle_is_drawn_where_it_projects(camera, drawn):
    x, y, _ = camera.project(CENTER)
    rows, columns = np.nonzero(drawn[0].mask)
    # a ball's outline is an ellipse whose middle lies a little beyond the projected center
    assert abs(columns.mean() - x) < 0.5 and abs(rows.mean() - y) < 0.5


def test_plate_is_the_image_outside_the_person_and_its_shadow(camera, drawn):
    rendering, background = drawn
    way = rays(camera)
    on_wall = camera.eye + way * ((WALL_Z - camera.eye[2]) / way[..., 2:])
    blocked = ~np.isnan(hit_ball(on_wall, np.broadcast_to(SUN, on_wall.shape)))
    gap = np.linalg.norm(np.cross(on_wall - CENTER, SUN), axis=-1) - RADIUS  # from the shadow's rim
    rim = np.zeros_like(blocked)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            rim |= np.roll(rendering.mask, (dy, dx), (0, 1))
    difference = rendering.image.astype(int) - background.image
    open_wall = ~rim & ~blocked & (gap > 0.03)
    assert np.abs(difference[open_wall]).max() <= 1 and (difference[open_wall] == 0).mean() > 0.999
    shadowed = ~rim & blocked & (gap < -0.03)
    assert shadowed.sum() > 20 and difference[shadowed].max() < -20
    assert difference[~rim].max() <= 0  # outside the person nothing gets brighter


def test_a_joint_behind_the_surface_is_not_seen(camera, drawn):
    toward = (camera.eye - CENTER) / np.linalg.norm(camera.eye - CENTER)
    joints = np.tile(CENTER + toward * (RADIUS - 0.1), (18, 1))
    joints[3] = CENTER - toward * RADIUS  # an elbow on the far side
    joints[0] = CENTER + toward * (RADIUS - 0.1)  # a nose a hand's breadth under the surface
    joints[4] = [50.0, 1.0, 0.0]  # out of the image
    seen = visible_joints(camera, joints, drawn[0], 0.3)
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(np.flatnonzero(seen[:, 2] == 0), [0, 3, 4, 14, 15, 16, 17])
    np.testing.assert_array_equal(seen[seen[:, 2] == 0], 0)
    np.testing.assert_allclose(seen[1, :2], camera.project(joints[1])[:2], atol=1e-4)


def test_framing_holds_every_point_inside_the_image():
    rng = np.random.default_rng(1)
    for _ in range(30):
        points = rng.uniform(-1, 1, (40, 3)) * rng.uniform(0.2, 1.2, 3) + [0, 1.2, 0]
        camera = frame_points(rng, points, 200)
        at = camera.project(points)
        assert at[:, :2].min() > -1 and at[:, :2].max() < 200
        assert np.ptp(at[:, :2], axis=0).max() > 200 * 0.4


def test_light_of_a_white_sky_is_white_from_everywhere():
    coefficients = harmonics(np.ones((64, 128, 3)))
    np.testing.assert_allclose(coefficients[0], 1, atol=1e-3)
    np.testing.assert_allclose(coefficients[1:], 0, atol=1e-3)


def test_rasters_of_several_sizes_live_side_by_side(camera, drawn):
    small = Rasterizer(32)
    small.set_scene(wall(), SceneCamera(camera.eye, camera.view, camera.focal / 3, 32))
    again = Rasterizer(SIZE, 4)
    again.set_scene(wall(), camera)
    first = small.background()  # drawn after the other was made
    np.testing.assert_array_equal(again.background().image, drawn[1].image)
    np.testing.assert_allclose(first.z, drawn[1].z.reshape(32, 3, 32, 3).mean((1, 3)), rtol=1e-3)
