"""Draws a textured mesh through OpenGL; `idol.body.draw_numpy` does the same to a pixel's rounding."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32

from idol.body.gl_context import gl_context
from idol.body.pinhole import PinholeCamera
from idol.body.textured_mesh import (
    BLOCK,
    CUT_OUT,
    LEAST_FACING,
    MAGNIFIED,
    SAME_SURFACE,
    SLIVER_FACING,
    AvatarMesh,
    DrawnFrame,
    image_box,
)

_NEAR, _FAR = 0.05, 100.0  # meters
_FADE = round(SLIVER_FACING[1] - SLIVER_FACING[0], 6)

_VERTEX = f"""#version 330
in vec3 place; in vec3 normal;
in vec2 own; in vec2 other; in vec3 guess; in vec3 share; in float label; in float soft;
in vec2 facing; in float spare;
uniform vec4 lens; uniform vec2 span;
out vec2 own_at; out vec2 other_at; out vec3 guessed; out vec3 shares; out vec3 turned;
flat out float name; flat out float is_soft;
void main() {{
  float z = -place.z;
  own_at = own; other_at = other; guessed = guess; turned = normal;
  // what the photo saw at a more grazing angle gives way
  vec2 magnified = -dot(normal, place) / length(place) / max(facing, {LEAST_FACING});
  vec2 kept = clamp(({MAGNIFIED[1]} - magnified) / {round(MAGNIFIED[1] - MAGNIFIED[0], 6)}, 0, 1);
  shares.x = share.x * kept.x;
  shares.y = (share.y + (share.x - shares.x) * spare) * kept.y;
  shares.z = 1 - shares.x - shares.y;
  name = label; is_soft = soft;
  // rows of the image grow downward, and so do those of the texture that is drawn into
  gl_Position = vec4(lens.x * place.x + lens.y * z, lens.w * z - lens.z * place.y,
                     (z * (span.y + span.x) - 2 * span.x * span.y) / (span.y - span.x), z);
}}"""

_FRAGMENT = f"""#version 330
in vec2 own_at; in vec2 other_at; in vec3 guessed; in vec3 shares; in vec3 turned;
flat in float name; flat in float is_soft;
uniform sampler2D photo; uniform ivec2 origin;
layout(location = 0) out vec4 color; layout(location = 1) out vec4 info;
const float thresholds[4] = float[](0.125, 0.625, 0.875, 0.375);
void main() {{
  vec4 texel = texture(photo, own_at);
  ivec2 k = (ivec2(gl_FragCoord.xy) - origin) % {BLOCK};
  float alpha = texel.a;
  if (is_soft > {CUT_OUT}) alpha *= clamp((turned.z - {SLIVER_FACING[0]}) / {_FADE}, 0, 1);
  if (is_soft > 0 && alpha <= thresholds[k.y * {BLOCK} + k.x]) discard;
  vec3 mixed = shares.x * texel.rgb + shares.z * guessed;
  if (shares.y > 0) mixed += shares.y * texture(photo, other_at).rgb;
  color = vec4(mixed, 1); info = vec4(turned * 0.5 + 0.5, name / 255);
}}"""

_SCREEN = """#version 330
in vec2 corner; void main() { gl_Position = vec4(corner, 0, 1); }"""

_RESOLVE = f"""#version 330
uniform sampler2D colors; uniform sampler2D infos; uniform sampler2D depths;
layout(location = 0) out vec4 color; layout(location = 1) out vec4 info; layout(location = 2) out float depth;
void main() {{
  ivec2 base = ivec2(gl_FragCoord.xy) * {BLOCK};
  float z[{BLOCK * BLOCK}]; float nearest = 1; int first = 0;
  for (int k = 0; k < {BLOCK * BLOCK}; k++) {{
    z[k] = texelFetch(depths, base + ivec2(k % {BLOCK}, k / {BLOCK}), 0).r;
    if (z[k] < nearest) {{ nearest = z[k]; first = k; }}
  }}
  if (nearest >= 1) discard;
  vec3 sum = vec3(0), turned = vec3(0); float count = 0, total = 0, fronts = 0, name = 0;
  float limit = {_NEAR * _FAR} / ({_FAR} - nearest * {_FAR - _NEAR}) + {SAME_SURFACE};
  for (int k = 0; k < {BLOCK * BLOCK}; k++) {{
    if (z[k] >= 1) continue;
    ivec2 at = base + ivec2(k % {BLOCK}, k / {BLOCK});
    count += 1; sum += texelFetch(colors, at, 0).rgb;
    float meters = {_NEAR * _FAR} / ({_FAR} - z[k] * {_FAR - _NEAR});
    if (meters > limit) continue;
    vec4 label = texelFetch(infos, at, 0);
    fronts += 1; total += meters; turned += label.rgb * 2 - 1;
    if (k == first) name = label.a;
  }}
  color = vec4(sum / count, count / {BLOCK * BLOCK});
  info = vec4(normalize(turned) * 0.5 + 0.5, name);
  depth = total / fronts;
}}"""

_ATTRIBUTES = "2f 2f 3f 3f f f 2f f"
_NAMES = ("own", "other", "guess", "share", "label", "soft", "facing", "spare")
_SOURCE_BITS = 8  # a part and a source share a byte


class _Screen:
    """Textures to draw into, for images of one size."""

    def __init__(self, gl: Any, height: int, width: int) -> None:
        samples, size = (width * BLOCK, height * BLOCK), (width, height)
        self.sampled = [gl.texture(samples, 4), gl.texture(samples, 4), gl.depth_texture(samples)]
        self.sampled[2].compare_func = ""  # it is read as numbers
        for texture in self.sampled:
            texture.filter = (gl.NEAREST, gl.NEAREST)
        self.samples = gl.framebuffer(self.sampled[:2], self.sampled[2])
        self.finished = gl.framebuffer(
            [gl.texture(size, 4), gl.texture(size, 4), gl.texture(size, 1, dtype="f4")]
        )


class GlPainter:
    """A mesh uploaded once, drawn frame after frame, in the thread that has made the painter.

    Args:
        mesh: What is drawn.

    Raises:
        ImportError: If moderngl is not installed.
        RuntimeError: If there is no EGL.
    """

    def __init__(self, mesh: AvatarMesh) -> None:
        self._gl = gl = gl_context()
        self._program, self._resolve, self._square = _programs(gl)
        h, w = mesh.photo.shape[:2]
        self._photo = gl.texture((w, h), 4, np.ascontiguousarray(mesh.photo).tobytes())
        self._photo.filter, self._photo.repeat_x, self._photo.repeat_y = (gl.LINEAR, gl.LINEAR), False, False
        label = (mesh.part.astype(np.float32) + 1) * _SOURCE_BITS + mesh.source + 1
        size = np.array([w, h], np.float32)
        own, other = (mesh.own + 0.5) / size, (mesh.other + 0.5) / size
        still = np.column_stack(
            [own, other, mesh.guess / 255, mesh.share, label, mesh.soft, mesh.facing, mesh.spare]
        )
        self._still = gl.buffer(still.astype(np.float32).tobytes())
        self._moving = gl.buffer(reserve=len(mesh.own) * 24, dynamic=True)
        self._array = gl.vertex_array(
            self._program,
            [(self._moving, "3f 3f", "place", "normal"), (self._still, _ATTRIBUTES, *_NAMES)],
            gl.buffer(mesh.triangles.astype(np.int32).tobytes()),
        )

    def __del__(self) -> None:
        for name in ("_array", "_moving", "_still", "_photo"):
            if hasattr(self, name):
                getattr(self, name).release()

    def draw_into(
        self,
        frame: DrawnFrame,
        vertices: Float32[np.ndarray, "n 3"],
        normals: Float32[np.ndarray, "n 3"],
        camera: PinholeCamera,
    ) -> None:
        """Draw the mesh into an empty frame.

        Args:
            frame: The frame, of the camera's size; it is changed in place.
            vertices: Vertices of the mesh in meters, in the axes of the camera.
            normals: Unit normals of the vertices.
            camera: The camera.
        """
        box = image_box(camera.project(vertices), camera.height, camera.width)
        if box is None or vertices[:, 2].max() >= 0:
            return
        self._moving.write(np.hstack([vertices, normals]).astype(np.float32, copy=False).tobytes())
        screen = _screen(self._gl, camera.height, camera.width)
        self._draw_samples(screen, camera, box)
        self._draw_pixels(screen, box)
        _fill(frame, box, *(_read(screen.finished, box, k) for k in range(3)))

    def _draw_samples(self, screen: _Screen, camera: PinholeCamera, box: tuple[int, int, int, int]) -> None:
        gl, program = self._gl, self._program
        screen.samples.use()
        screen.samples.scissor = (*(v * BLOCK for v in box[:2]), *(v * BLOCK for v in _size(box)))
        screen.samples.clear(0, 0, 0, 0, depth=1.0)
        gl.enable_only(gl.DEPTH_TEST | gl.CULL_FACE)
        gl.front_face = "cw"  # rows grow downward
        h, w = camera.height, camera.width
        middle = (2 * (camera.center_x + 0.5) / w - 1, 2 * (camera.center_y + 0.5) / h - 1)
        program["lens"] = (2 * camera.focal / w, middle[0], 2 * camera.focal / h, middle[1])
        program["span"], program["photo"], program["origin"] = (_NEAR, _FAR), 0, (0, 0)
        self._photo.use(0)
        self._array.render()
        gl.front_face = "ccw"
        gl.enable_only(gl.NOTHING)

    def _draw_pixels(self, screen: _Screen, box: tuple[int, int, int, int]) -> None:
        screen.finished.use()
        screen.finished.scissor = (*box[:2], *_size(box))
        screen.finished.clear(0, 0, 0, 0)
        for unit, (name, texture) in enumerate(
            zip(("colors", "infos", "depths"), screen.sampled, strict=True)
        ):
            texture.use(unit)
            self._resolve[name] = unit
        self._square.render(self._gl.TRIANGLE_STRIP)


def _size(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


@lru_cache(4)
def _programs(gl: Any) -> tuple[Any, Any, Any]:
    """Return the shader program of the mesh, that of the pixels, and the square that the latter covers."""
    resolve = gl.program(_SCREEN, _RESOLVE)
    corners = gl.buffer(np.array([-1, -1, 1, -1, -1, 1, 1, 1], "f4"))
    return gl.program(_VERTEX, _FRAGMENT), resolve, gl.vertex_array(resolve, [(corners, "2f", "corner")])


@lru_cache(4)
def _screen(gl: Any, height: int, width: int) -> _Screen:
    return _Screen(gl, height, width)


def _read(finished: Any, box: tuple[int, int, int, int], attachment: int) -> np.ndarray:
    """One of the finished images within the box, a row per pixel."""
    count, kind, dtype = (1, "f4", np.float32) if attachment == 2 else (4, "f1", np.uint8)
    data = finished.read((*box[:2], *_size(box)), count, attachment=attachment, alignment=1, dtype=kind)
    return np.frombuffer(data, dtype).reshape(-1, count)


def _fill(
    frame: DrawnFrame, box: tuple[int, int, int, int], color: np.ndarray, info: np.ndarray, depth: np.ndarray
) -> None:
    """Write finished pixels into the box of a frame, in place; most pixels show nothing."""
    shown = np.flatnonzero(color[:, 3])
    y, x = np.divmod(shown, box[2] - box[0])
    at = y + box[1], x + box[0]
    color, info = color[shown], info[shown]
    frame.color[at] = color[:, :3]
    frame.alpha[at] = np.rint(color[:, 3] * np.float32(BLOCK**2 / 255)) / BLOCK**2
    frame.depth[at] = depth[shown, 0]
    normals = info[:, :3] * np.float32(2 / 255) - 1
    frame.normals[at] = normals / np.sqrt(np.einsum("nc,nc->n", normals, normals))[:, None]
    frame.part[at], frame.source[at] = np.divmod(info[:, 3], _SOURCE_BITS)
