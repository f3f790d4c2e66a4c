"""The z-buffer against a literal loop, and against planes and spheres of known depth."""

import numpy as np

from idol.body.pinhole import PinholeCamera
from idol.body.zbuffer import find_hits

CAMERA = PinholeCamera.assumed(24, 32)


def literal(seen, triangles, height, width):
    """Test every triangle at every sample: the nearest front face that contains the sample."""
    triangle = np.full((height, width), -1)
    nearest = np.full((height, width), np.inf)
    for number, corners in enumerate(triangles):
        a, b, c = seen[corners]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area >= 0:
            continue
        for y in range(height):
            for x in range(width):
                weights = [
                    ((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])) / area
                    for p, q in ((b, c), (c, a), (a, b))
                ]
                if min(weights) < 0:
                    continue
                distance = 1 / sum(w / corner[2] for w, corner in zip(weights, (a, b, c), strict=True))
                if distance < nearest[y, x]:
                    nearest[y, x], triangle[y, x] = distance, number
    return triangle, nearest


def test_equals_a_literal_loop():
    rng = np.random.default_rng(0)
    corners = rng.uniform([-1, -0.8, -4], [1, 0.8, -2], (40, 3, 3)).reshape(-1, 3)
    seen = CAMERA.project(corners)
    seen[:, :2] = np.rint(seen[:, :2] * 256) / 256  # where the search rounds to
    triangles = np.arange(len(corners)).reshape(-1, 3)
    hits = find_hits(seen, triangles, 24, 32)
    triangle, nearest = literal(seen, triangles, 24, 32)
    assert (triangle >= 0).sum() > 100
    np.testing.assert_array_equal(hits.triangle, triangle)
    np.testing.assert_allclose(hits.distance, nearest, rtol=1e-6)


def test_plane_has_its_exact_depth():
    camera = PinholeCamera.assumed(64, 64)
    corners = np.array([[-3, -3, -6], [3, -3, -6], [3, 3, -2.5], [-3, 3, -2.5]], float)
    hits = find_hits(camera.project(corners), np.array([[0, 1, 2], [0, 2, 3]]), 64, 64)
    # On the plane Z = -6 + (Y + 3) * 3.5 / 6, along the ray of each row.
    slope = (camera.center_y - np.arange(64)) / camera.focal  # Y over distance
    distance = (6 - 3 * 3.5 / 6) / (1 + slope * 3.5 / 6)
    assert (hits.triangle >= 0).mean() > 0.4
    found = hits.triangle >= 0
    expected = np.broadcast_to(distance[:, None], (64, 64))
    np.testing.assert_allclose(hits.distance[found], expected[found], rtol=2e-3)


def test_sphere_has_its_depth_and_hides_its_back():
    polar, around = np.meshgrid(np.linspace(0, np.pi, 97), np.linspace(0, 2 * np.pi, 193), indexing="ij")
    unit = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    numbers = np.arange(unit[..., 0].size).reshape(unit.shape[:2])
    quads = [numbers[:-1, :-1], numbers[1:, :-1], numbers[1:, 1:], numbers[:-1, 1:]]
    a, b, c, d = (q.ravel() for q in quads)
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    vertices = unit.reshape(-1, 3) * 0.5 + [0, 0, -3]
    camera = PinholeCamera.assumed(64, 64)
    hits = find_hits(camera.project(vertices), triangles, 64, 64)
    ray = camera.unproject(np.stack([*np.meshgrid(np.arange(64.0), np.arange(64.0)), np.ones((64, 64))], -1))
    along, square = ray[..., 2] * -3, (ray**2).sum(-1)
    inside = along**2 - square * (9 - 0.25)
    distance = (along - np.sqrt(np.maximum(inside, 0))) / square
    core = (hits.triangle >= 0) & (inside > 0.05)
    assert core.sum() > 200
    np.testing.assert_allclose(hits.distance[core], distance[core], atol=1e-3)
    assert not (hits.triangle >= 0)[inside < -0.05].any()
