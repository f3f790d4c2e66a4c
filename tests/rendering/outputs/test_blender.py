"""What Blender itself makes of our GLB files; skipped where its Python module `bpy` is not installed.

Every question is asked in a process of its own: `bpy` brings a whole program along and ends badly.
"""

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from idol.rendering.outputs.mesh import clip_glb, frame_glb
from support.built_layers import built_layers

trimesh = pytest.importorskip("trimesh")

FPS = 10
SCRIPT = """
import json, os, sys
import bpy

glb, answer, image, fps, frames = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = fps
bpy.ops.import_scene.gltf(filepath=glb)
camera = bpy.data.objects["original view"]
people = {o.name: o for o in bpy.data.objects if o.type == "MESH"}


def to_camera(mesh):
    return max(mesh.matrix_world.to_scale()) > 0.5


def corners(mesh):
    points = [mesh.matrix_world @ vertex.co for vertex in mesh.data.vertices]
    return [[f(p[i] for p in points) for i in range(3)] for f in (min, max)]


shown, boxes = [], {}
for frame in range(frames):
    scene.frame_set(frame)
    shown.append(sorted(name for name, mesh in people.items() if seen(mesh)))
    boxes |= {name: corners(mesh) for name, mesh in people.items() if seen(mesh)}
scene.frame_set(1)
scene.camera, scene.render.filepath = camera, image
scene.render.resolution_x, scene.render.resolution_y = 40, 48
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 16, False
scene.render.threads_mode, scene.render.threads = "FIXED", 1
scene.view_settings.view_transform = "Standard"
bpy.ops.render.render(write_still=True)
found = {
    "vertices": {name: len(mesh.data.vertices) for name, mesh in people.items()},
    "boxes": boxes,
    "shown": shown,
    "actions": {action.name: list(action.frame_range) for action in bpy.data.actions},
    "field of view": camera.data.angle_y,
    "camera": [list(row) for row in camera.matrix_world],
}
with open(answer, "w") as file:
    json.dump(found, file)
os._exit(0)
"""


def _python(*arguments):
    return subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module", autouse=True)
def blender():
    if "bpy is here" not in _python("import bpy, os; print('bpy is here', flush=True); os._exit(0)").stdout:
        pytest.skip("bpy is not installed: pip install bpy==4.2.0 (docs/rendering.md)")


@pytest.fixture(scope="module")
def layers():
    built, rng = built_layers(frames=3, height=48, width=40), np.random.default_rng(2)

    def soft(shape, middle):
        return np.clip(middle + 500 * gaussian_filter(rng.normal(size=shape), (0, 0, 4, 4)), 0, 255)

    person, background = soft(built.color.shape, 170), soft(built.background.shape, 80)
    return replace(built, color=person.astype(np.uint8), background=background.astype(np.uint8))


def asked(folder, data, frames):
    """What Blender answers about a file, and how it sees it with the file's own camera in frame 1."""
    (folder / "scene.glb").write_bytes(data)
    names = [str(folder / name) for name in ("scene.glb", "answer.json", "image.png")]
    done = _python(SCRIPT, *names, str(FPS), str(frames))
    assert (folder / "answer.json").is_file(), done.stderr or done.stdout
    image = np.asarray(Image.open(folder / "image.png").convert("RGB")).transpose(2, 0, 1)
    return json.loads((folder / "answer.json").read_text()), image.astype(int)


def true_meshes(data):
    """By trimesh: vertices and box of each mesh as the file has them, in Blender's axes, where z is up."""
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)
    meshes = {}
    for name, mesh in scene.geometry.items():
        x, y, z = mesh.vertices.T
        points = np.stack([x, -z, y], 1)
        meshes[name] = len(points), [points.min(0), points.max(0)]
    return meshes


def own_view(layers, frame):
    alpha = layers.alpha[frame]
    return (layers.color[frame] * alpha + layers.background[0] * (1 - alpha)).astype(int)


def check(found, image, data, layers, frame):
    truth = true_meshes(data)
    assert found["vertices"] == {name: count for name, (count, _) in truth.items()}
    assert found["boxes"].keys() == truth.keys()
    for name, (_, box) in truth.items():
        np.testing.assert_allclose(found["boxes"][name], box, atol=1e-5)
    assert found["field of view"] == pytest.approx(np.radians(layers.camera.fov), rel=1e-5)
    # at the origin, looking along y
    np.testing.assert_allclose(
        found["camera"], [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], atol=1e-6
    )
    error = np.abs(image - own_view(layers, frame))[:, 1:-1, 1:-1]
    assert np.median(error) <= 3 and error.mean() < 8
    assert np.abs(image - own_view(layers, (frame + 1) % 3))[:, 1:-1, 1:-1].mean() > 2 * error.mean()


def test_blender_plays_a_clip_as_one_mesh_a_frame(layers, tmp_path):
    data = clip_glb(layers)
    found, image = asked(tmp_path, data, 4)
    check(found, image, data, layers, 1)
    people = [f"person {frame:05d}" for frame in range(3)]
    assert found["shown"] == [["background", name] for name in [*people, people[-1]]]  # it stays at the end
    assert {name: end for name, (_, end) in found["actions"].items()} == {
        f"clip_{name}": frame + 1 for frame, name in enumerate(people)
    }
    assert {start for start, _ in found["actions"].values()} == {0}


def test_blender_reads_a_frame_that_stands_still(layers, tmp_path):
    data = frame_glb(layers, 2)
    found, image = asked(tmp_path, data, 2)
    check(found, image, data, layers, 2)
    assert found["shown"] == [["background", "person"]] * 2 and not found["actions"]
