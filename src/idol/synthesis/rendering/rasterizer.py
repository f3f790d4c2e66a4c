"""Rasterizer of persons in scenes: images, exact depth and masks, by OpenGL on EGL (a GPU or llvmpipe)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from idol.body.gl_context import gl_context
from idol.errors import UserError
from idol.synthesis.human.person import Material, SyntheticPerson
from idol.synthesis.rendering import shaders
from idol.synthesis.rendering.camera import SceneCamera, look_at, orthographic
from idol.synthesis.scene.scene import Quad, Scene

_SHADOW_SIZE = 768
# Specular strength and sharpness, unused, mirror reflection.
_SHINE: dict[Material, tuple[float, float, float, float]] = {
    "skin": (0.06, 18.0, 0.0, 0.35),
    "cloth": (0.03, 12.0, 0.0, 0.10),
    "shoe": (0.15, 30.0, 0.0, 0.40),
    "hair": (0.10, 22.0, 0.0, 0.15),
    "eye": (0.50, 80.0, 0.0, 0.60),
}
# Light that wraps around the terminator, and the alpha below which a texel is discarded.
_WRAP: dict[Material, float] = {"skin": 0.2, "cloth": 0.0, "shoe": 0.0, "hair": 0.6, "eye": 0.0}
_CUTOFF: dict[Material, float] = {"skin": 0.0, "cloth": 0.3, "shoe": 0.3, "hair": 0.45, "eye": 0.3}


@dataclass(frozen=True)
class Rendering:
    """A rendered image.

    Attributes:
        image: (s, s, 3) uint8 sRGB.
        z: (s, s) float32 distance along the view axis in meters; the person's where the mask is set.
        mask: (s, s) bool: the person covers at least half of the pixel.
    """

    image: np.ndarray
    z: np.ndarray
    mask: np.ndarray


@dataclass
class _Draw:
    surface: Any
    shadow: Any
    image: Any
    bumps: Any
    material: Material


class Rasterizer:
    """An off-screen OpenGL context that renders square images.

    Load a person, set the scene, then draw frame by frame.

    Args:
        size: Height and width of the images in pixels.
        block: Samples per pixel in each direction.

    Raises:
        UserError: If no EGL context can be created.
    """

    def __init__(self, size: int, block: int = 2) -> None:
        self._gl = gl = _context()
        self.size, self.block, side = size, block, size * block
        self._surface = gl.program(shaders.SURFACE_VERTEX, shaders.SURFACE_FRAGMENT)
        self._backdrop = gl.program(shaders.SURFACE_VERTEX, shaders.BACKDROP_FRAGMENT)
        self._shadow = gl.program(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT)
        corners = gl.buffer(np.array([-1, -1, 1, -1, -1, 1, 1, 1], "f4"))
        self._finish = _Screen(gl, corners, shaders.FINISH_FRAGMENT)
        self._sky = _Screen(gl, corners, shaders.SKY_FRAGMENT)
        self._copy = _Screen(gl, corners, shaders.COPY_FRAGMENT)
        depths, z = _plain(gl.texture((side, side), 2, dtype="f4")), gl.depth_renderbuffer((side, side))
        self._depths = depths
        self._colors, self._bright, self._dim = (
            _plain(gl.texture((side, side), 4, dtype="f2")) for _ in range(3)
        )
        self._samples, self._bright_buffer, self._dim_buffer = (
            gl.framebuffer([colors, depths], z) for colors in (self._colors, self._bright, self._dim)
        )
        self._shadow_map = gl.depth_texture((_SHADOW_SIZE, _SHADOW_SIZE))
        self._shadow_map.compare_func = "<="
        self._shadow_buffer = gl.framebuffer(depth_attachment=self._shadow_map)
        self._image = gl.texture((size, size), 4)
        self._image_depth = gl.texture((size, size), 2, dtype="f4")
        self._finished = gl.framebuffer([self._image, self._image_depth])
        self._white = gl.texture((1, 1), 4, b"\xff" * 4)
        self._panorama: Any = None
        self._person: list[_Draw] = []
        self._quads: list[_Draw] = []
        self._person_keeps: list[Any] = []
        self._scene_keeps: list[Any] = []
        self._loaded: SyntheticPerson | None = None

    def load_person(self, person: SyntheticPerson) -> None:
        """Upload a person's mesh and textures, replacing the previous person."""
        if self._loaded is person:
            return
        _release(self._person_keeps)
        gl, keep = self._gl, self._person_keeps
        self._vertices = _kept(keep, gl.buffer(reserve=len(person.vertices) * 24, dynamic=True))
        uv = _kept(keep, gl.buffer(person.uv.astype("f4").tobytes()))
        self._person = []
        for part in person.parts:
            index = _kept(keep, gl.buffer(part.triangles.astype("i4").tobytes()))
            shape = [(self._vertices, "3f 3f", "position", "normal"), (uv, "2f", "uv")]
            flat = [(self._vertices, "3f 12x", "position"), (uv, "2f", "uv")]
            surface = _kept(keep, gl.vertex_array(self._surface, shape, index))
            shadow = _kept(keep, gl.vertex_array(self._shadow, flat, index))
            image = _kept(keep, self._texture(part.texture))
            bumps = _kept(keep, self._texture(part.normals)) if part.normals is not None else None
            self._person.append(_Draw(surface, shadow, image, bumps, part.material))
        self._loaded = person

    def set_scene(self, scene: Scene, camera: SceneCamera) -> None:
        """Upload a scene, and render it without the person.

        Args:
            scene: The scene.
            camera: The camera; its image must have the rasterizer's size.
        """
        _release(self._scene_keeps)
        keep = self._scene_keeps
        images: dict[int, Any] = {}
        self._quads = []
        for quad in scene.quads:
            if id(quad.image) not in images:
                images[id(quad.image)] = _kept(keep, self._texture(quad.image))
            self._quads.append(self._quad_draw(quad, images[id(quad.image)]))
        self._panorama = None
        if scene.panorama is not None:
            height, width = scene.panorama.shape[:2]
            sky = scene.panorama.astype("f4").tobytes()
            self._panorama = _kept(keep, self._gl.texture((width, height), 3, sky, dtype="f4"))
            self._panorama.repeat_y = False
        self._camera, self._light = camera, scene.light
        self._set_surface()
        # Lit and shadowed versions are rendered once; frames only mix them (BACKDROP_FRAGMENT).
        self._draw_empty(self._dim_buffer, 0.0)
        self._draw_empty(self._bright_buffer, 1.0)

    def background(self) -> Rendering:
        """Render the scene without the person and the person's shadow."""
        self._samples.use()
        self._samples.clear(0, 0, 0, 0, depth=1.0)
        self._draw_backdrop(None)
        return self._resolve()

    def draw(self, vertices: np.ndarray, normals: np.ndarray, focus: tuple[np.ndarray, float]) -> Rendering:
        """Render the loaded person in the scene.

        Args:
            vertices: (n, 3) of the posed person, in meters.
            normals: (n, 3) unit normals.
            focus: Center (3,) and half-width of the box that the shadow map covers, in meters.
        """
        # The shadow map looks along the key light at the person's box alone, which keeps it sharp.
        away = focus[0] + self._light.key * 5
        sun = orthographic(focus[1], 0.1, 10.0) @ look_at(away, focus[0])
        self._vertices.write(np.concatenate([vertices, normals], 1).astype("f4").tobytes())
        self._draw_shadows(sun)
        self._samples.use()
        self._samples.clear(0, 0, 0, 0, depth=1.0)
        self._draw_backdrop(sun)
        self._surface["has_shadows"], self._surface["sun"] = True, 1.0
        self._surface["light_from_world"].write(_matrix(sun))
        (self._panorama or self._white).use(3)
        for part in self._person:
            self._draw_part(part, person=True)
        return self._resolve()

    def _quad_draw(self, quad: Quad, image: Any) -> _Draw:
        gl, keep = self._gl, self._scene_keeps
        rows = np.concatenate([quad.corners, np.tile(quad.normal, (4, 1)), quad.uv], 1).astype("f4")
        vertices = _kept(keep, gl.buffer(rows.tobytes()))
        index = _kept(keep, gl.buffer(np.array([0, 1, 2, 0, 2, 3], "i4").tobytes()))
        shaded = [(vertices, "3f 3f 2f", "position", "normal", "uv")]
        flat = [(vertices, "3f 3f 8x", "position", "normal")]
        surface = _kept(keep, gl.vertex_array(self._surface, shaded, index))
        return _Draw(surface, _kept(keep, gl.vertex_array(self._backdrop, flat, index)), image, None, "cloth")

    def _texture(self, image: np.ndarray) -> Any:
        # OpenGL's rows run upwards.
        flipped = np.ascontiguousarray(image[::-1])
        texture = self._gl.texture((image.shape[1], image.shape[0]), image.shape[2], flipped, alignment=1)
        texture.build_mipmaps()
        texture.filter = (self._gl.LINEAR_MIPMAP_LINEAR, self._gl.LINEAR)
        return texture

    def _set_surface(self) -> None:
        program, camera, light = self._surface, self._camera, self._light
        for shader in (program, self._backdrop):
            shader["clip_from_world"].write(_matrix(camera.projection @ camera.view))
            shader["view"].write(_matrix(camera.view))
        program["ambient"].write(light.ambient.astype("f4").tobytes())
        vectors = {"key": light.key, "key_color": light.key_color, "fill": light.fill, "eye": camera.eye}
        for name, value in (vectors | {"fill_color": light.fill_color}).items():
            program[name].write(value.astype("f4").tobytes())
        for unit, name in enumerate(("image", "bumps", "shadows", "sky")):
            program[name] = unit
        self._backdrop["shadows"], self._backdrop["bright"], self._backdrop["dim"] = 2, 4, 5

    def _draw_empty(self, buffer: Any, sun: float) -> None:
        """Render the scene alone: fully lit (sun = 1), or as if all of it lay in the person's shadow (0)."""
        buffer.use()
        buffer.clear(0, 0, 0, 0, depth=1.0)
        (self._panorama or self._white).use(3)
        if self._panorama is not None:
            self._gl.disable(self._gl.DEPTH_TEST)
            turn = np.linalg.inv(self._camera.view)
            self._sky.program["world_from_view"].write(_matrix(turn))
            focal, side = self._camera.focal * self.block, float(self.size * self.block)
            self._sky.draw(sky=3, focal=focal, side=side)
        self._gl.enable(self._gl.DEPTH_TEST)
        self._surface["has_shadows"], self._surface["sun"] = False, sun
        for quad in self._quads:
            self._draw_part(quad, person=False)

    def _draw_shadows(self, sun: np.ndarray) -> None:
        self._shadow_buffer.use()
        self._shadow_buffer.clear(depth=1.0)
        self._gl.enable(self._gl.DEPTH_TEST)
        self._shadow["light_from_world"].write(_matrix(sun))
        self._shadow["image"] = 0
        for part in self._person:
            if part.material != "eye":
                part.image.use(0)
                self._shadow["cutoff"] = _CUTOFF[part.material]
                part.shadow.render()

    def _draw_backdrop(self, sun: np.ndarray | None) -> None:
        """Draw the empty scene, with the person's shadow on it if `sun` is given."""
        self._shadow_map.use(2)
        self._bright.use(4)
        self._dim.use(5)
        if self._panorama is not None:
            self._gl.disable(self._gl.DEPTH_TEST)
            self._copy.draw(bright=4)
        self._gl.enable(self._gl.DEPTH_TEST)
        self._backdrop["has_shadows"] = sun is not None
        if sun is not None:
            self._backdrop["light_from_world"].write(_matrix(sun))
        for quad in self._quads:
            quad.shadow.render()

    def _draw_part(self, part: _Draw, person: bool) -> None:
        program = self._surface
        part.image.use(0)
        (part.bumps or self._white).use(1)
        program["has_bumps"] = part.bumps is not None
        program["is_person"] = person
        program["is_catcher"] = not person and self._panorama is not None
        program["is_skin"] = part.material == "skin"
        program["wrap"] = _WRAP[part.material]
        program["cutoff"] = _CUTOFF[part.material] if person else 0.0
        program["shine"] = _SHINE[part.material]
        part.surface.render()

    def _resolve(self) -> Rendering:
        self._finished.use()
        self._gl.disable(self._gl.DEPTH_TEST)
        self._colors.use(0)
        self._depths.use(1)
        light = self._light
        self._finish.draw(
            colors=0,
            depths=1,
            block=self.block,
            focal=self._camera.focal,
            exposure=light.exposure,
            strength=light.occlusion,
            white=tuple(float(x) for x in light.white),
        )
        shape = (self.size, self.size, -1)
        color = np.frombuffer(self._image.read(), np.uint8).reshape(shape)[::-1]
        depth = np.frombuffer(self._image_depth.read(), np.float32).reshape(shape)[::-1]
        return Rendering(color[..., :3].copy(), depth[..., 0].copy(), depth[..., 1] >= 0.5)


class _Screen:
    """A shader program that runs once per pixel of the target."""

    def __init__(self, gl: Any, corners: Any, fragment: str) -> None:
        self.program = gl.program(shaders.SCREEN_VERTEX, fragment)
        self._mode = gl.TRIANGLE_STRIP
        self._square = gl.vertex_array(self.program, [(corners, "2f", "corner")])

    def draw(self, **uniforms: float | tuple[float, ...]) -> None:
        for name, value in uniforms.items():
            self.program[name] = value
        self._square.render(self._mode)


def _context() -> Any:
    """Return the thread's one OpenGL context: of several only the latest would be drawn into."""
    try:
        return gl_context()
    except RuntimeError as error:
        hint = "install EGL (Debian: libegl1 libgl1-mesa-dri)"
        raise UserError("synth", str(error), hint) from error


def _plain(texture: Any) -> Any:
    import moderngl

    texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
    return texture


def _matrix(matrix: np.ndarray) -> bytes:
    """Convert a matrix to column-major float32, as OpenGL reads it."""
    return matrix.T.astype("f4").tobytes()


def _kept(keep: list[Any], resource: Any) -> Any:
    keep.append(resource)
    return resource


def _release(keep: list[Any]) -> None:
    while keep:
        keep.pop().release()
