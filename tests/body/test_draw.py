"""Images of textured meshes: half-covered pixels, alpha, sources, and both ways of drawing the same."""

import numpy as np
import pytest

from idol.body.draw import make_painter
from idol.body.gl_context import has_gl
from idol.body.pinhole import PinholeCamera
from idol.body.skin_mesh import PARTS, average_adult, vertex_normals
from idol.body.textured_mesh import CUT_OUT, SLIVER, AvatarMesh, Drawn, as_triangles

BACKENDS = ["numpy", pytest.param("gl", marks=pytest.mark.skipif(not has_gl(), reason="no EGL here"))]
CAMERA = PinholeCamera(10.0, 3.5, 3.5, 8, 8)


def square(photo, soft=0.0, share=(1.0, 0.0, 0.0), facing=(1.0, 1.0), spare=0.0):
    """A mesh of a square with the photo on it, its corners clockwise from the top left."""
    h, w = photo.shape[:2]
    own = np.array([[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]], np.float32)
    return AvatarMesh(
        triangles=as_triangles(np.array([[0, 2, 1], [0, 3, 2]])),
        own=own,
        other=own[[1, 0, 3, 2]],
        guess=np.full((4, 3), 40, np.float32),
        share=np.tile(np.float32(share), (4, 1)),
        facing=np.tile(np.float32(facing), (4, 1)),
        spare=np.full(4, spare, np.float32),
        part=np.full(4, 3, np.uint8),
        source=np.full(4, 2, np.uint8),
        soft=np.full(4, soft, np.float32),
        photo=photo,
    )


def drawn(mesh, box, backend, normal=(0.0, 0.0, 1.0), camera=CAMERA, distance=2.0):
    """The square filling columns and rows x0, y0, x1, y1, whose edges are whole pixels."""
    x0, y0, x1, y1 = (v - 0.5 for v in box)
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    vertices = camera.unproject(np.column_stack([corners, np.full(4, distance)])).astype(np.float32)
    made = Drawn.empty(1, camera.height, camera.width)
    normals = np.tile(np.float32(normal), (4, 1))
    make_painter(mesh, backend).draw_into(made.frame(0), vertices, normals, camera)
    return made


def photo_of(color, alpha=255, size=8):
    return np.full((size, size, 4), (*color, alpha), np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_covered_pixels_have_half_alpha(backend):
    made = drawn(square(photo_of((200, 100, 50))), (1, 1, 4.5, 7), backend)
    np.testing.assert_array_equal(made.alpha[0, 3], [0, 1, 1, 1, 0.5, 0, 0, 0])
    np.testing.assert_array_equal(made.color[0, :, 3, 4], [200, 100, 50])  # not mixed with anything
    np.testing.assert_allclose(made.depth[0, 3, 1:5], 2, atol=1e-4)
    assert np.isinf(made.depth[0, 3, 5:]).all() and not made.normals[0, :, 3, 6].any()
    np.testing.assert_array_equal(made.part[0, 3], [0, 4, 4, 4, 4, 0, 0, 0])
    np.testing.assert_array_equal(made.source[0, 3], [0, 3, 3, 3, 3, 0, 0, 0])
    mixed = made.over(np.full((3, 8, 8), 100, np.uint8))
    np.testing.assert_array_equal(mixed[0, :, 3, 4], [150, 100, 75])


@pytest.mark.parametrize("backend", BACKENDS)
def test_sources_are_mixed_by_their_shares(backend):
    photo = np.zeros((8, 8, 4), np.uint8)
    photo[:, :4, 0], photo[:, 4:, 0] = 200, 100
    made = drawn(square(photo, share=(0.5, 0.25, 0.25)), (0, 0, 8, 8), backend)
    np.testing.assert_allclose(made.color[0, 0, 3, [1, 6]], [100 + 25 + 10, 50 + 50 + 10], atol=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_photo_saw_at_a_grazing_angle_gives_way_to_twin_and_guess(backend):
    photo = np.zeros((8, 8, 4), np.uint8)
    photo[:, :4, 0], photo[:, 4:, 0] = 200, 100

    def red(facing, spare=0.0):
        return int(drawn(square(photo, facing=facing, spare=spare), (0, 0, 8, 8), backend).color[0, 0, 3, 1])

    assert red((1.0, 1.0)) == red((0.9, 0.2), 1.0) == 200
    assert red((0.2, 1.0)) == red((0.2, 0.2), 1.0) == 40
    assert red((0.2, 1.0), 1.0) == 100


@pytest.mark.parametrize("backend", BACKENDS)
def test_photos_alpha_cuts_soft_surfaces_out(backend):
    whole = drawn(square(photo_of((9, 9, 9), 100)), (0, 0, 8, 8), backend)
    assert (whole.alpha == 1).all()
    half = drawn(square(photo_of((9, 9, 9), 128), CUT_OUT), (0, 0, 8, 8), backend)
    assert (half.alpha == 0.5).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_slivers_go_as_they_turn_away(backend):
    mesh = square(photo_of((9, 9, 9)), SLIVER)
    facing = [drawn(mesh, (0, 0, 8, 8), backend, (np.sqrt(1 - z * z), 0, z)) for z in (1.0, 0.875, 0.7)]
    assert [float(made.alpha.mean()) for made in facing] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_in_view_is_an_empty_frame(backend):
    made = drawn(square(photo_of((9, 9, 9))), (20, 20, 30, 30), backend)
    assert not made.alpha.any() and np.isinf(made.depth).all()


@pytest.mark.skipif(not has_gl(), reason="no EGL here")
@pytest.mark.parametrize("size", [96, 160])
def test_both_backends_draw_the_same(size):
    skin = average_adult()
    vertices = skin.vertices + np.float32([0.1, -0.85, -3.0])
    camera, n = PinholeCamera.assumed(size, size), len(vertices)
    rng = np.random.default_rng(1)
    rough = rng.uniform(0, 255, (16, 16, 4)).repeat(10, 0).repeat(10, 1).astype(np.uint8)
    own = (camera.project(vertices)[:, :2] * 160 / size).astype(np.float32)
    share = rng.dirichlet([2, 1, 1], n).astype(np.float32)
    mesh = AvatarMesh(
        as_triangles(skin.triangles),
        own,
        own[skin.twin],
        rng.uniform(0, 255, (n, 3)).astype(np.float32),
        share,
        rng.uniform(0.1, 1, (n, 2)).astype(np.float32),
        rng.uniform(0, 1, n).astype(np.float32),
        skin.part.astype(np.uint8),
        (np.arange(n) % 4).astype(np.uint8),
        np.where(skin.part > 5, CUT_OUT, 0).astype(np.float32),
        rough,
    )
    normals = vertex_normals(vertices, skin.triangles)
    gl, plain = Drawn.empty(1, size, size), Drawn.empty(1, size, size)
    for backend, into in (("gl", gl), ("numpy", plain)):
        make_painter(mesh, backend).draw_into(into.frame(0), vertices, normals, camera)
    count = (plain.alpha > 0).sum()
    assert count > 500
    assert (gl.alpha != plain.alpha).sum() <= 0.002 * count
    same = (gl.alpha == plain.alpha) & (plain.alpha > 0)
    difference = np.abs(gl.color.astype(int) - plain.color).max(1)
    assert (difference[same] > 2).mean() < 0.002
    assert (np.abs(gl.depth[same] - plain.depth[same]) > 1e-3).mean() < 0.002
    assert (np.abs(gl.normals - plain.normals).max(1)[same] > 0.02).mean() < 0.002
    assert (gl.part != plain.part).sum() <= 0.002 * count and plain.part.max() <= len(PARTS)
    assert (gl.source != plain.source).sum() <= 0.004 * count
