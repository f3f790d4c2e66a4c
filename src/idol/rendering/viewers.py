"""Interactive viewers: a clip in 3-D, in the browser (viser) or in rerun's window."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from idol.atomic_io import atomic_file
from idol.clip import Clip
from idol.errors import UserError
from idol.provenance import Provenance, provenance_of
from idol.rendering.geometry.camera import Layers
from idol.rendering.layers.depth_discontinuities import firm_silhouette
from idol.rendering.layers.metric_scale import PERSON_HEIGHT
from idol.rendering.layers.separate import separate
from idol.rendering.outputs.depth_video import to_millimeters
from idol.rendering.outputs.gltf import Node, TexturedMesh, to_glb
from idol.rendering.outputs.mesh import background_mesh, person_mesh
from idol.rendering.outputs.point_cloud import person_cloud
from idol.rendering.provenance import clip_facts, watermark_layers, watermark_once

Viewer = Literal["viser", "rerun"]
PORTS: dict[Viewer, int] = {"viser": 8080, "rerun": 9876}
LOCAL = "127.0.0.1"


def view(
    clip: str | Path,
    viewer: Viewer = "viser",
    *,
    host: str = LOCAL,
    port: int | None = None,
    save: str | Path | None = None,
    fov: float | None = None,
    person_height: float = PERSON_HEIGHT,
    watermark: bool = True,
    certificate: str | Path | None = None,
    private_key: str | Path | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Open a clip in a 3-D viewer and return when the viewer is closed or interrupted by Ctrl-C.

    Args:
        clip: Folder of the clip.
        viewer: "viser" serves a page for the browser, "rerun" opens rerun's window.
        host: Address to listen on; by default reachable from this machine only.
        port: Port to listen on; None: the viewer's default (8080, 9876).
        save: With rerun: write this .rrd file instead of opening a window, watermarked and with its
            credentials beside it (`idol.provenance`).
        fov: Vertical field of view in degrees, 1 to 150; None: see `metric_scale.estimate_camera`.
        person_height: Height of the person in meters, 0.3 to 3; it sets the scale of relative depth.
        watermark: Whether to put the invisible watermark into a saved recording.
        certificate: PEM file of the certificate chain that signs a recording; None: one of this machine.
        private_key: PEM file of its private key.
        ready: Called with the address once viser is serving.

    Raises:
        UserError: If the clip cannot be read or has no depth, the viewer is unknown, not installed or cannot
            open a window, `save` does not fit the viewer, or the certificate cannot be used.
    """
    if viewer not in PORTS:
        raise UserError("viewer", f"{viewer!r}", f"give one of {', '.join(PORTS)}")
    clip, save = Path(clip), None if save is None else Path(save)
    if save is not None and (viewer != "rerun" or save.suffix != ".rrd"):
        raise UserError("save", f"{save} with {viewer}", "give `viewer=rerun` and a name that ends in .rrd")
    provenance = provenance_of(watermark, certificate, private_key)
    record = Clip.load(clip)
    layers = firm_silhouette(separate(record, fov=fov, person_height=person_height))
    port = PORTS[viewer] if port is None else port
    if viewer == "viser":
        _serve(layers, host, port, ready)
    elif save is not None:
        _export(save, record, layers, clip, provenance)
    else:
        _open_window(record, layers, host, port)


def _export(path: Path, clip: Clip, layers: Layers, folder: Path, provenance: Provenance) -> None:
    """Write a recording with the watermark in its colors, and its credentials as `NAME.rrd.c2pa`."""
    marked = replace(clip, video=watermark_once(clip.video, provenance))
    save_recording(path, marked, watermark_layers(layers, clip.video, provenance))
    provenance.sign(path, replace(clip_facts(clip, folder), kind="recording"))


def _serve(layers: Layers, host: str, port: int, ready: Callable[[str], None]) -> None:
    player = Player(layers, host, port)
    try:
        ready(player.url)
        player.wait()
    except KeyboardInterrupt:
        pass  # the normal way to close a viewer
    finally:
        player.stop()


class Player:
    """A viser server that shows a clip: a frame slider, playback, and the person as mesh or points.

    Args:
        layers: The clip.
        host: Address to listen on; by default reachable from this machine only.
        port: Port to listen on; if it is in use, the next free one is taken.

    Attributes:
        server: The viser server.
        frame: Slider; its `value` is the visible frame.
        playing: Checkbox; while its `value` is true the clip plays in a loop.
        person: Dropdown; its `value`, "mesh" or "points", is how the person is shown.

    Raises:
        UserError: If viser is not installed.
    """

    def __init__(self, layers: Layers, host: str = LOCAL, port: int = PORTS["viser"]) -> None:
        viser = _imported("viser")
        with redirect_stdout(sys.stderr):  # viser prints a banner; stdout is for `--json`
            self.server: Any = viser.ViserServer(host=host, port=port, label="idol", verbose=False)
        self._frames, self._fps = layers.frames, layers.fps
        self._nodes = _add_scene(self.server.scene, layers)
        self._set_initial_camera(layers)
        self._add_controls()
        self._lock, self._stopped = threading.Lock(), threading.Event()
        threading.Thread(target=self._play, daemon=True).start()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def wait(self) -> None:
        """Block until the player is stopped."""
        self._stopped.wait()

    def stop(self) -> None:
        """Stop the server."""
        self._stopped.set()
        with redirect_stdout(sys.stderr):
            self.server.stop()

    def _set_initial_camera(self, layers: Layers) -> None:
        self.server.scene.set_up_direction("+y")
        camera = self.server.initial_camera
        camera.position, camera.look_at = (0.0, 0.0, 0.0), (0.0, 0.0, -_distance(layers))
        camera.fov = float(np.radians(layers.camera.fov))

    def _add_controls(self) -> None:
        gui = self.server.gui
        self.frame = gui.add_slider("frame", 0, max(1, self._frames - 1), 1, 0, disabled=self._frames == 1)
        self.playing = gui.add_checkbox("play", False)
        self._speed = gui.add_slider("speed", 0.1, 2.0, 0.1, 1.0)
        self.person = gui.add_dropdown("person", ("mesh", "points"))
        self._background = gui.add_checkbox("background", True)
        for control in (self.frame, self.person, self._background):
            control.on_update(lambda _: self._update())

    def _update(self) -> None:
        """Show what the controls select and hide everything else."""
        with self._lock, self.server.atomic():
            wanted = {self.person.value, *(["background"] if self._background.value else [])}
            for name, handles in self._nodes.items():
                frame = min(self.frame.value, len(handles) - 1)
                for i, handle in enumerate(handles):
                    handle.visible = name in wanted and i == frame

    def _play(self) -> None:
        while not self._stopped.wait(1 / (self._fps * self._speed.value)):
            if self.playing.value:
                self.frame.value = (self.frame.value + 1) % self._frames


def _add_scene(scene: Any, layers: Layers) -> dict[str, list[Any]]:
    """Add all nodes of all frames and return them by name; playing then only transmits their visibility."""
    size = _distance(layers) / layers.camera.focal
    nodes: dict[str, list[Any]] = {"mesh": [], "points": [], "background": []}
    for i in range(1 if layers.static else layers.frames):
        background = background_mesh(layers, i)
        nodes["background"].append(_add_mesh(scene, f"/background/{i:05d}", background, visible=i == 0))
    for i in range(layers.frames):
        person = person_mesh(layers, i)
        nodes["mesh"].append(_add_mesh(scene, f"/mesh/{i:05d}", person, visible=i == 0))
        cloud = person_cloud(layers, i)
        look = {"point_size": size, "precision": "float32", "point_shading": "flat", "visible": False}
        nodes["points"].append(scene.add_point_cloud(f"/points/{i:05d}", cloud.points, cloud.colors, **look))
    return nodes


def _add_mesh(scene: Any, name: str, mesh: TexturedMesh | None, visible: bool) -> Any:
    if mesh is None:  # nobody is visible in this frame
        return scene.add_frame(name, show_axes=False, visible=visible)
    return scene.add_glb(name, to_glb([Node("mesh", mesh)]), visible=visible)


def _distance(layers: Layers) -> float:
    """Return the person's distance in meters: the median over their visible pixels."""
    return float(np.median(layers.z[layers.alpha >= 0.5]))


def save_recording(path: Path, clip: Clip, layers: Layers) -> None:
    """Write a clip as a rerun recording; the file appears complete or not at all.

    It contains, on the timelines `frame` and `time`, `/world/person` (points), `/world/background` (a mesh),
    and under the pinhole camera `/world/camera` the `image` and the person's `depth` in millimeters.

    Args:
        path: Destination, an .rrd file.
        clip: The clip, for its images.
        layers: Layers of the same clip.

    Raises:
        UserError: If rerun is not installed.
    """
    rerun = _imported("rerun")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as fresh:
        recording = rerun.RecordingStream("idol")
        recording.save(fresh, default_blueprint=_blueprint())
        _record(rerun, recording, clip, layers)
        recording.disconnect()


def _record(rerun: Any, recording: Any, clip: Clip, layers: Layers) -> None:
    camera, distance = layers.camera, _distance(layers)
    recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Y_UP, static=True)
    pinhole = rerun.Pinhole(
        image_from_camera=camera.intrinsics,
        resolution=[camera.width, camera.height],
        camera_xyz=rerun.ViewCoordinates.RUB,
        image_plane_distance=distance / 4,
    )
    recording.log("world/camera", pinhole, static=True)
    if layers.static:
        recording.log("world/background", _mesh(rerun, background_mesh(layers, 0)), static=True)
    for i in range(layers.frames):
        recording.set_time("frame", sequence=i)
        recording.set_time("time", duration=i / layers.fps)
        _record_frame(rerun, recording, clip, layers, i)


def _record_frame(rerun: Any, recording: Any, clip: Clip, layers: Layers, frame: int) -> None:
    image = np.ascontiguousarray(clip.video[frame].transpose(1, 2, 0))
    recording.log("world/camera/image", rerun.Image(image).compress(jpeg_quality=95))
    covered = layers.alpha[frame] >= 0.5
    depth = to_millimeters(np.where(covered, layers.z[frame], np.inf))
    recording.log("world/camera/depth", rerun.DepthImage(depth, meter=1000.0))
    cloud = person_cloud(layers, frame)
    radius = 0.75 * _distance(layers) / layers.camera.focal  # points overlap
    recording.log("world/person", rerun.Points3D(cloud.points, colors=cloud.colors, radii=radius))
    if not layers.static:
        recording.log("world/background", _mesh(rerun, background_mesh(layers, frame)))


def _mesh(rerun: Any, mesh: TexturedMesh) -> Any:
    return rerun.Mesh3D(
        vertex_positions=mesh.vertices,
        triangle_indices=mesh.faces,
        vertex_texcoords=mesh.uv,
        albedo_texture=np.ascontiguousarray(mesh.texture.transpose(1, 2, 0)),
    )


def _blueprint() -> Any:
    """Return a layout with 3-D space on the left, without the depth image, which would appear as points."""
    views = import_module("rerun.blueprint")
    return views.Blueprint(
        views.Horizontal(
            views.Spatial3DView(
                origin="world", contents=["+ $origin/**", "- $origin/camera/depth"], name="space"
            ),
            views.Vertical(
                views.Spatial2DView(origin="world/camera/image", name="video"),
                views.Spatial2DView(origin="world/camera/depth", name="depth"),
            ),
            column_shares=[3, 1],
        )
    )


def _open_window(clip: Clip, layers: Layers, host: str, port: int) -> None:
    """Show a recording in rerun's window until it is closed.

    The window is a separate program that opens a file. Started by rerun's Python functions it would listen on
    all addresses of the machine.
    """
    _imported("rerun")
    with tempfile.TemporaryDirectory(prefix="idol-") as scratch:
        path = Path(scratch, "clip.rrd")
        save_recording(path, clip, layers)
        command = [sys.executable, "-m", "rerun", str(path), "--bind", host, "--port", str(port)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode > 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            "viewer",
            f"the rerun window does not open ({reason})",
            "give `save=FILE.rrd` and open the file elsewhere",
        )


def _imported(name: Viewer) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            "viewer", f"needs {name}, which is not installed", "pip install idol-diffusion[view]"
        ) from error
