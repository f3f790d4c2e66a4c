"""Writer of glTF 2.0 binaries: textured meshes, the original camera, an animation with one mesh per frame.

It exists because trimesh writes neither animations nor unlit materials (`KHR_materials_unlit`: the texture is
a photograph and must not be lit again).

Every frame has its own triangles and texture, so morph targets, which share both, cannot animate them.
Instead each frame is a node whose scale steps between 0 and 1. The specification names this as the way to
animate visibility, and Blender and three.js both play it.
"""

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from idol.rendering.geometry.camera import Camera

_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_COMPONENTS = {"float32": (5126, "<f4"), "uint32": (5125, "<u4"), "uint16": (5123, "<u2")}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}
_LINEAR, _CLAMP_TO_EDGE = 9729, 33071


@dataclass(frozen=True)
class TexturedMesh:
    """Textured triangles.

    Attributes:
        vertices: (n, 3) float32 in meters; right-handed, y up.
        uv: (n, 2) float32; (0, 0) is the top left corner of the texture, (1, 1) the bottom right one.
        faces: (k, 3) uint32, counter-clockwise seen from the front.
        texture: (3, h, w) uint8 sRGB, or (4, h, w) with alpha, which cuts the mesh where it is below one
            half.

    Raises:
        ValueError: If a shape is wrong, there is no face, an index is out of range, or a value is not finite.
    """

    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    texture: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.vertices)
        if self.vertices.shape != (n, 3) or self.uv.shape != (n, 2) or self.faces.shape[1:] != (3,):
            shapes = self.vertices.shape, self.uv.shape, self.faces.shape
            raise ValueError(f"vertices, uv, faces: found {shapes}, expected (n, 3), (n, 2), (k, 3)")
        if not len(self.faces) or self.faces.max() >= n:
            raise ValueError(f"faces: found none or an index beyond {n - 1}, expected indices of vertices")
        if not (np.isfinite(self.vertices).all() and np.isfinite(self.uv).all()):
            raise ValueError("vertices, uv: found NaN or infinity, expected finite numbers")


@dataclass(frozen=True)
class Node:
    """A named mesh, and when it is visible.

    Attributes:
        name: Name of the node and its mesh.
        mesh: The mesh.
        interval: (start, end) of its visibility in seconds; None: always.
    """

    name: str
    mesh: TexturedMesh
    interval: tuple[float, float] | None = None


def to_glb(nodes: Sequence[Node], camera: Camera | None = None) -> bytes:
    """Return a GLB file of meshes, and of a camera at the origin that looks along -z.

    Args:
        nodes: At least one. Those with an interval form one animation, "clip", which ends with the last of
            them. Without playing it, nodes that start at 0 are visible.
        camera: Written as the node "original view".

    Returns:
        The bytes of the file; textures are embedded as PNG, so that colors are exact.
    """
    document = _Document()
    for node in nodes:
        document.add_node(node)
    if camera is not None:
        document.add_camera(camera)
    document.add_animation(nodes)
    return document.pack()


class _Document:
    """The lists and the one buffer of a glTF file under construction."""

    def __init__(self) -> None:
        self._binary = bytearray()
        self._lists: dict[str, list[Any]] = {
            "samplers": [
                {
                    "magFilter": _LINEAR,
                    "minFilter": _LINEAR,
                    "wrapS": _CLAMP_TO_EDGE,
                    "wrapT": _CLAMP_TO_EDGE,
                }
            ]
        }

    def _append(self, kind: str, entry: dict[str, Any]) -> int:
        entries = self._lists.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def _append_bytes(self, data: bytes, **entry: Any) -> int:
        self._binary += b"\0" * (
            -len(self._binary) % 4
        )  # accessors are aligned to their component size, at most 4
        view = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data), **entry}
        self._binary += data
        return self._append("bufferViews", view)

    def _append_array(self, array: np.ndarray, target: int | None = None) -> int:
        columns = 1 if array.ndim == 1 else array.shape[1]
        code, dtype = _COMPONENTS[array.dtype.name]
        data = np.ascontiguousarray(array, dtype).tobytes()
        view = self._append_bytes(data, **({} if target is None else {"target": target}))
        rows = array.reshape(-1, columns)
        bounds = {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        entry = {"bufferView": view, "componentType": code, "count": len(rows), "type": _TYPES[columns]}
        return self._append("accessors", {**entry, **bounds})

    def add_node(self, node: Node) -> None:
        """Append a mesh; if it is not visible at time 0, its scale is 0 until the animation is played."""
        mesh = self._append("meshes", {"name": node.name, "primitives": [self._primitive(node.mesh)]})
        entry: dict[str, Any] = {"name": node.name, "mesh": mesh}
        if node.interval is not None and node.interval[0] > 0:
            entry["scale"] = [0, 0, 0]
        self._append("nodes", entry)

    def _primitive(self, mesh: TexturedMesh) -> dict[str, Any]:
        # the largest 16-bit index, 65535, is reserved for primitive restart
        index = np.uint16 if len(mesh.vertices) < 65536 else np.uint32
        return {
            "attributes": {
                "POSITION": self._append_array(mesh.vertices, _ARRAY_BUFFER),
                "TEXCOORD_0": self._append_array(mesh.uv, _ARRAY_BUFFER),
            },
            "indices": self._append_array(mesh.faces.ravel().astype(index), _ELEMENT_ARRAY_BUFFER),
            "material": self._material(mesh.texture),
        }

    def _material(self, texture: np.ndarray) -> int:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(texture.transpose(1, 2, 0))).save(buffer, "PNG")
        view = self._append_bytes(buffer.getvalue())
        image = self._append("images", {"bufferView": view, "mimeType": "image/png"})
        index = self._append("textures", {"source": image, "sampler": 0})
        cut = {"alphaMode": "MASK", "alphaCutoff": 0.5} if len(texture) == 4 else {}
        return self._append(
            "materials",
            {
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": index},
                    "metallicFactor": 0,
                    "roughnessFactor": 1,
                },
                "extensions": {"KHR_materials_unlit": {}},
                "doubleSided": True,
                **cut,
            },
        )

    def add_camera(self, camera: Camera) -> None:
        """Append the camera as a node at the origin."""
        perspective = {
            "yfov": float(np.radians(camera.fov)),
            "aspectRatio": camera.width / camera.height,
            "znear": 0.01,
            "zfar": 1000,
        }
        name = "original view"
        index = self._append("cameras", {"name": name, "type": "perspective", "perspective": perspective})
        self._append("nodes", {"name": name, "camera": index})

    def add_animation(self, nodes: Sequence[Node]) -> None:
        """Append the animation of the nodes with an interval; node indices are those of `nodes`."""
        timed = {i: node.interval for i, node in enumerate(nodes) if node.interval is not None}
        if not timed:
            return
        end = max(stop for _, stop in timed.values())
        samplers, channels = [], []
        for i, (start, stop) in timed.items():
            times = sorted({0.0, start, stop})
            visible = [start <= t < stop or stop == end == t for t in times]  # the last one stays
            scales = np.repeat(np.array(visible, np.float32)[:, None], 3, axis=1)
            keys = self._append_array(np.array(times, np.float32))
            samplers.append({"input": keys, "output": self._append_array(scales), "interpolation": "STEP"})
            channels.append({"sampler": len(samplers) - 1, "target": {"node": i, "path": "scale"}})
        self._append("animations", {"name": "clip", "samplers": samplers, "channels": channels})

    def pack(self) -> bytes:
        """Return the file: a 12-byte header, the JSON chunk and the binary chunk."""
        record = {
            "asset": {"version": "2.0", "generator": "idol"},
            "extensionsUsed": ["KHR_materials_unlit"],
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self._lists["nodes"])))}],
            "buffers": [{"byteLength": len(self._binary)}],
            **self._lists,
        }
        text = json.dumps(record, separators=(",", ":")).encode()
        chunks = _chunk(b"JSON", text, b" ") + _chunk(b"BIN\0", bytes(self._binary), b"\0")
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    padded = data + padding * (-len(data) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded
