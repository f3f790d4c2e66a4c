import io
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter

from idol.assets import asset_path
from idol.rendering.layers.depth_discontinuities import (
    MAX_SLOPE,
    firm_silhouette,
    median_3x3,
    remove_floating_pixels,
)
from idol.rendering.outputs.gltf import Node, TexturedMesh, to_glb
from idol.rendering.outputs.mesh import background_mesh, clip_glb, frame_glb, person_mesh
from support.browsing import browser_page, image_of, served
from support.built_layers import built_layers, pinhole_points

trimesh = pytest.importorskip("trimesh")


def read_glb(data):
    """The JSON and the buffer of a GLB file, by the letter of the specification."""
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    start = 20 + size
    size, kind = struct.unpack_from("<I4s", data, start)
    assert kind == b"BIN\0" and start + 8 + size == len(data)
    return json.loads(data[20:start]), data[start + 8 :]


def accessor(record, binary, index):
    entry = record["accessors"][index]
    view = record["bufferViews"][entry["bufferView"]]
    dtype = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[entry["componentType"]]
    columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[entry["type"]]
    values = np.frombuffer(binary, dtype, entry["count"] * columns, view["byteOffset"])
    return values.reshape(-1, columns)


def scene_of(data):
    return trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)


def test_trimesh_reads_the_very_surfaces():
    layers = built_layers()
    scene = scene_of(frame_glb(layers, 1))
    for name, surface in (
        ("person", person_mesh(layers, 1)),
        ("background", background_mesh(layers, 1)),
    ):
        mesh = scene.geometry[name]
        np.testing.assert_array_equal(mesh.vertices.astype(np.float32), surface.vertices)
        np.testing.assert_array_equal(mesh.faces, surface.faces)
        image = np.asarray(mesh.visual.material.baseColorTexture)
        np.testing.assert_array_equal(image, surface.texture.transpose(1, 2, 0))
        # trimesh's v runs upward
        np.testing.assert_allclose(mesh.visual.uv * [1, -1] + [0, 1], surface.uv, atol=1e-6)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_the_background_spans_all_pixels_whatever_the_step(step):
    layers = built_layers()
    surface = background_mesh(layers, 0, step)
    corners = pinhole_points(layers.camera, layers.background_z[0])[[0, -1], [0, -1]]
    np.testing.assert_allclose(surface.vertices.min(0), corners.min(0), atol=1e-5)
    np.testing.assert_allclose(surface.vertices.max(0), corners.max(0), atol=1e-5)
    mesh = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    width, height = np.ptp(corners[:, 0]), np.ptp(corners[:, 1])
    assert mesh.area == pytest.approx(width * height, rel=1e-5)
    np.testing.assert_allclose(
        mesh.face_normals, np.broadcast_to([0, 0, 1], mesh.face_normals.shape), atol=1e-5
    )


def test_a_larger_step_makes_fewer_triangles_of_the_same_person():
    layers = built_layers(height=48, width=40)
    fine, coarse = (person_mesh(layers, 0, step) for step in (1, 4))
    assert len(coarse.faces) < len(fine.faces) / 8
    np.testing.assert_allclose(np.ptp(coarse.vertices, axis=0), np.ptp(fine.vertices, axis=0), atol=1e-5)
    with pytest.raises(ValueError, match="step: found 5"):
        person_mesh(layers, 0, 5)


def test_texture_coordinates_point_at_the_pixel_a_vertex_stands_for():
    layers = built_layers()
    surface = person_mesh(layers, 0)
    _, h, w = surface.texture.shape
    columns, rows = np.rint(surface.uv * [w, h] - 0.5).astype(int).T
    flipped = surface.vertices * [1, -1, -1]
    x, y = np.rint(layers.camera.project(flipped)).astype(int).T
    np.testing.assert_array_equal(surface.texture[:3, rows, columns], layers.color[0][:, y, x])


def two_parts(gap):
    """A person whose right half is `gap` meters nearer than the left one, which slopes a little."""
    layers = built_layers()
    z = np.linspace(3.0, 3.05, 20, dtype=np.float32) + np.zeros((2, 24, 1), np.float32)
    z[:, :, 9:] -= np.float32(gap)
    return replace(layers, z=z)


def test_no_triangle_spans_a_jump_and_no_hole_is_left():
    layers = two_parts(0.5)
    surface = person_mesh(layers, 0)
    depth = -surface.vertices[surface.faces][..., 2]
    limit = MAX_SLOPE * depth.min() / layers.camera.focal
    assert np.ptp(depth, axis=1).max() < limit < 0.5
    whole = person_mesh(two_parts(0.0), 0)
    torn = len(surface.faces) - len(whole.faces)
    rows = surface.texture.shape[1] - 1
    assert torn == 2 * rows  # each cell of the one torn column is there twice
    seen = layers.camera.project(surface.vertices * [1, -1, -1])[surface.faces]
    a, b = seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0]
    covered = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2
    assert covered == pytest.approx(len(surface.faces) / 2, rel=1e-4)  # every cell whole: one pixel


def test_a_slope_is_not_torn():
    layers = built_layers()
    step = 0.9 * MAX_SLOPE * 2.0 / layers.camera.focal
    z = 2.0 + step * np.arange(20, dtype=np.float32) + np.zeros((2, 24, 1), np.float32)
    surface = person_mesh(replace(layers, z=z.astype(np.float32)), 0)
    assert len(surface.vertices) == len(np.unique(surface.vertices, axis=0))


def test_each_frame_shows_in_its_time_alone():
    layers = built_layers(frames=4)
    record, binary = read_glb(clip_glb(layers))
    (animation,) = record["animations"]
    curves = []
    for channel in animation["channels"]:
        assert channel["target"]["path"] == "scale"
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler["interpolation"] == "STEP"
        times, scales = (accessor(record, binary, sampler[key]) for key in ("input", "output"))
        curves.append((record["nodes"][channel["target"]["node"]], times[:, 0], scales))
    assert max(times[-1] for _, times, _ in curves) == pytest.approx(0.4)
    for frame in range(4):
        for moment in (frame + 0.01, frame + 0.5, frame + 0.99):
            shown = [
                node["name"]
                for node, times, scales in curves
                if scales[np.searchsorted(times, moment / 10) - 1].all()
            ]
            assert shown == [f"person {frame:05d}"]
    at_rest = [node["name"] for node, _, _ in curves if node.get("scale", [1, 1, 1]) != [0, 0, 0]]
    assert at_rest == ["person 00000"]


def test_a_frame_without_a_person_has_the_background_alone():
    layers = built_layers(frames=3)
    alpha = layers.alpha.copy()
    alpha[1] = 0
    layers = replace(layers, alpha=alpha)
    assert list(scene_of(frame_glb(layers, 1)).geometry) == ["background"]
    record, _ = read_glb(clip_glb(layers))
    assert [node["name"] for node in record["nodes"] if "mesh" in node] == [
        "background",
        "person 00000",
        "person 00002",
    ]


def test_a_moving_background_is_a_mesh_a_frame():
    layers = built_layers(frames=3)
    layers = replace(layers, background=np.repeat(layers.background, 3, axis=0))
    record, _ = read_glb(clip_glb(layers))
    assert sum(node["name"].startswith("background") for node in record["nodes"]) == 3


def test_surfaces_that_cannot_be_are_refused():
    layers = built_layers()
    whole = background_mesh(layers, 0)
    with pytest.raises(ValueError, match="faces"):
        replace(whole, faces=whole.faces + np.uint32(10**6))
    with pytest.raises(ValueError, match="NaN"):
        replace(whole, vertices=whole.vertices * np.float32(np.nan))
    with pytest.raises(ValueError, match="expected"):
        replace(whole, uv=whole.uv[:-1])


def test_many_vertices_have_wide_indices():
    n = 70_000
    points = np.zeros((n, 3), np.float32)
    faces = np.array([[0, 1, n - 1]], np.uint32)
    surface = TexturedMesh(points, np.zeros((n, 2), np.float32), faces, np.zeros((3, 2, 2), np.uint8))
    record, binary = read_glb(to_glb([Node("wide", surface)]))
    index = record["meshes"][0]["primitives"][0]["indices"]
    np.testing.assert_array_equal(accessor(record, binary, index).ravel(), [0, 1, n - 1])


def running_away():
    """A flat person whose depth, as a network's would, runs to the wall over the last pixels."""
    layers = built_layers(height=48, width=48, metric=False)
    z = layers.z.copy()
    for f in range(2):
        left, right = 3 + f, 48 - 6 + f
        for i, meters in enumerate((1.5, 0.8, 0.3)):
            z[f, :, left + i] += np.float32(meters)
            z[f, :, right - 1 - i] += np.float32(meters)
    return replace(layers, z=z)


def test_the_silhouette_is_held_and_the_inside_is_left_alone():
    layers = running_away()
    held = firm_silhouette(layers)
    there = layers.alpha >= 0.5
    assert (held.z[there] <= layers.z[there] + 1e-6).all()
    pixel = 2.0 / layers.camera.focal
    assert held.z[there].max() < 2.0 + 4 * 1.5 * pixel * 1.01
    np.testing.assert_array_equal(held.z[0, 15:35, 15:30], layers.z[0, 15:35, 15:30])
    assert np.isfinite(held.z).all()


def test_known_distances_are_not_held():
    layers = replace(running_away(), metric=True)
    assert firm_silhouette(layers) is layers


def test_a_pixel_that_hangs_between_two_parts_falls_to_the_closer_one():
    z = np.full((4, 6), 2.0, np.float32)
    z[:, 3:] = 3.0
    expected = z.copy()
    z[:, 2] = [2.3, 2.7, 2.0, 3.0]
    expected[:, 2] = [2.0, 3.0, 2.0, 3.0]
    np.testing.assert_array_equal(remove_floating_pixels(z, 100.0), expected)
    np.testing.assert_array_equal(remove_floating_pixels(z.T.copy(), 100.0), expected.T)


@pytest.mark.slow
@pytest.mark.assets
def test_three_js_shows_and_plays_the_clip(tmp_path):
    """In a real browser: a front view has each frame's colors, a turned one has them in the right place."""
    layers = built_layers(frames=3, height=48, width=64)
    flat = np.array([[255, 40, 0], [0, 230, 60], [30, 0, 240]], np.uint8)
    layers = replace(
        layers,
        color=np.broadcast_to(flat[:, :, None, None], layers.color.shape).copy(),
        background=np.full_like(layers.background, 128),
    )
    (tmp_path / "clip.glb").write_bytes(clip_glb(layers))
    page_folder = Path(__file__).resolve().parents[2] / "support" / "three_page"
    with (
        served(page=page_folder, three=asset_path("three"), glb=tmp_path) as url,
        browser_page() as (page, complaints),
    ):
        page.goto(f"{url}/page/index.html")
        page.wait_for_function("window.ready")
        told = page.evaluate("load('/glb/clip.glb', 640, 480)")
        fronts = [image_of(page.evaluate(f"draw({(f + 0.5) / 10})")) for f in range(3)]
        turned = image_of(page.evaluate("draw(0.05, 30, [0, 0, -2])"))
    assert not complaints
    assert told["durations"] == [pytest.approx(0.3)]
    assert told["fov"] == pytest.approx(40) and told["aspect"] == pytest.approx(64 / 48)
    for frame, image in enumerate(fronts):
        _check_front(image, layers, frame, flat[frame])
    _check_turned(turned, layers, flat[0])


def _check_front(image, layers, frame, color):
    """At the middles of all pixels but those next to an edge; a pixel of the clip is 10 of the page's."""
    for y in range(1, 47):
        for x in range(1, 63):
            around = layers.alpha[frame, y - 1 : y + 2, x - 1 : x + 2]
            expected = color if around.all() else (128, 128, 128)
            if around.all() or not around.any():
                assert np.abs(image[y * 10 + 5, x * 10 + 5].astype(int) - expected).max() <= 1


def _check_turned(image, layers, color):
    """The person's color ends where its vertices do, turned by a literal rotation and projected."""
    vertices = person_mesh(layers, 0).vertices.astype(float)
    turn = np.radians(30)
    matrix = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    seen = (vertices - [0, 0, -2]) @ matrix.T + [0, 0, -2]
    focal = 240 / np.tan(np.radians(20))
    x, y = 320 + focal * seen[:, 0] / -seen[:, 2], 240 - focal * seen[:, 1] / -seen[:, 2]
    person = np.abs(image.astype(int) - color).max(-1) <= 1
    rows, columns = np.nonzero(person)
    x, y = x.clip(0, 639), y.clip(0, 479)
    one = 10  # the mesh reaches up to a pixel of the clip beyond the silhouette
    assert abs(columns.min() - x.min()) < one and abs(columns.max() - x.max()) < one
    assert abs(rows.min() - y.min()) < one and abs(rows.max() - y.max()) < one


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 5), (23, 17)])
def test_specks_are_removed_as_by_the_median_filter_of_scipy(shape):
    z = np.random.default_rng(0).integers(0, 9, shape).astype(np.float32)  # with ties
    np.testing.assert_array_equal(median_3x3(z), median_filter(z, 3, mode="nearest"))
