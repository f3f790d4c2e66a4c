"""Persons and scenes to pictures, exact depth and masks, through OpenGL on EGL (a GPU or llvmpipe)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from idol.errors import UserError
from idol.synth import shaders
from idol.synth.camera import Camera, look_at, orthographic
from idol.synth.person import Material, Person
from idol.synth.scene import Light, Quad, Scene

_SHADOW_SIZE = 1024
_SHINE: dict[Material, tuple[float, float, float, float]] = {
    "skin": (0.06, 18.0, 0.0, 0.35),
    "cloth": (0.03, 12.0, 0.0, 0.10),
    "shoe": (0.15, 30.0, 0.0, 0.40),
    "hair": (0.10, 22.0, 0.0, 0.15),
    "eye": (0.50, 80.0, 0.0, 0.60),
}
_WRAP: dict[Material, float] = {"skin": 0.2, "cloth": 0.0, "shoe": 0.0, "hair": 0.6, "eye": 0.0}
_CUTOFF: dict[Material, float] = {"skin": 0.0, "cloth": 0.3, "shoe": 0.3, "hair": 0.45, "eye": 0.3}


@dataclass(frozen=True)
class Rendering:
    """One picture.

    Attributes:
        image: (s, s, 3) uint8 sRGB.
        z: (s, s) float32 distance along the view axis in metres; the person's where the mask is set.
        mask: (s, s) bool: at least half of the pixel is the person.
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


class Raster:
    """An off-screen OpenGL context that draws square pictures.

    Args:
        size: Pixels along a side.
        block: Samples along a side of a pixel.

    Raises:
        UserError: If no EGL context can be had.
    """

    def __init__(self, size: int, block: int = 2) -> None:
        import moderngl

        try:
            self._gl: Any = moderngl.create_standalone_context(backend="egl")
        except Exception as error:
            hint = "install EGL (Debian: libegl1 libgl1-mesa-dri)"
            raise UserError("synth", f"no OpenGL context through EGL ({error})", hint) from error
        self.size, self.block, side = size, block, size * block
        gl = self._gl
        self._surface = gl.program(shaders.SURFACE_VERTEX, shaders.SURFACE_FRAGMENT)
        self._shadow = gl.program(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT)
        self._finish = gl.program(shaders.SCREEN_VERTEX, shaders.FINISH_FRAGMENT)
        self._sky = gl.program(shaders.SCREEN_VERTEX, shaders.SKY_FRAGMENT)
        self._colours = _plain(gl.texture((side, side), 4, dtype="f2"))
        self._depths = _plain(gl.texture((side, side), 2, dtype="f4"))
        self._samples = gl.framebuffer([self._colours, self._depths], gl.depth_renderbuffer((side, side)))
        self._shadow_map = gl.depth_texture((_SHADOW_SIZE, _SHADOW_SIZE))
        self._shadow_map.compare_func = "<="
        self._shadow_buffer = gl.framebuffer(depth_attachment=self._shadow_map)
        self._picture = gl.texture((size, size), 4)
        self._picture_depth = gl.texture((size, size), 2, dtype="f4")
        self._finished = gl.framebuffer([self._picture, self._picture_depth])
        corners = gl.buffer(np.array([-1, -1, 1, -1, -1, 1, 1, 1], "f4"))
        self._finish_quad = gl.vertex_array(self._finish, [(corners, "2f", "corner")])
        self._sky_quad = gl.vertex_array(self._sky, [(corners, "2f", "corner")])
        self._white = gl.texture((1, 1), 4, b"\xff" * 4)
        self._panorama: Any = None
        self._person: list[_Draw] = []
        self._quads: list[_Draw] = []
        self._person_keeps: list[Any] = []
        self._scene_keeps: list[Any] = []
        self._loaded: Person | None = None

    def load_person(self, person: Person) -> None:
        """Upload a person's mesh and textures; a person loaded before is dropped."""
        if self._loaded is person:
            return
        _release(self._person_keeps)
        gl, keep = self._gl, self._person_keeps
        self._vertices = _kept(keep, gl.buffer(reserve=len(person.vertices) * 24, dynamic=True))
        uv = _kept(keep, gl.buffer(person.uv.astype("f4").tobytes()))
        self._person = []
        for part in person.parts:
            index = _kept(keep, gl.buffer(part.triangles.astype("i4").tobytes()))
            shape = [(self._vertices, "3f 3f", "place", "normal"), (uv, "2f", "uv")]
            flat = [(self._vertices, "3f 12x", "place"), (uv, "2f", "uv")]
            surface = _kept(keep, gl.vertex_array(self._surface, shape, index))
            shadow = _kept(keep, gl.vertex_array(self._shadow, flat, index))
            image = _kept(keep, self._texture(part.texture))
            bumps = _kept(keep, self._texture(part.normals)) if part.normals is not None else None
            self._person.append(_Draw(surface, shadow, image, bumps, part.material))
        self._loaded = person

    def load_scene(self, scene: Scene) -> None:
        """Upload a scene; one loaded before is dropped."""
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
            self._panorama = _kept(
                keep, self._gl.texture((width, height), 3, scene.panorama.astype("f4").tobytes(), dtype="f4")
            )
            self._panorama.repeat_y = False

    def _quad_draw(self, quad: Quad, image: Any) -> _Draw:
        gl, keep = self._gl, self._scene_keeps
        rows = np.concatenate([quad.corners, np.tile(quad.normal, (4, 1)), quad.uv], 1).astype("f4")
        vertices = _kept(keep, gl.buffer(rows.tobytes()))
        index = _kept(keep, gl.buffer(np.array([0, 1, 2, 0, 2, 3], "i4").tobytes()))
        layout = [(vertices, "3f 3f 2f", "place", "normal", "uv")]
        return _Draw(_kept(keep, gl.vertex_array(self._surface, layout, index)), None, image, None, "cloth")

    def _texture(self, image: np.ndarray) -> Any:
        flipped = np.ascontiguousarray(image[::-1])
        texture = self._gl.texture((image.shape[1], image.shape[0]), image.shape[2], flipped, alignment=1)
        texture.build_mipmaps()
        texture.filter = (self._gl.LINEAR_MIPMAP_LINEAR, self._gl.LINEAR)
        texture.anisotropy = 2.0
        return texture

    def draw(
        self,
        camera: Camera,
        light: Light,
        skin: tuple[np.ndarray, np.ndarray] | None,
        focus: tuple[np.ndarray, float] = (np.zeros(3), 1.5),
    ) -> Rendering:
        """Draw the loaded scene, and the loaded person if `skin` gives its vertices and normals (n, 3).

        Args:
            camera: Of the raster's size.
            light: Of the scene.
            skin: The posed person; None for the clean plate, without its shadow too.
            focus: Centre (3,) and half-width in metres of what the shadow map covers.
        """
        sun = orthographic(focus[1], 0.1, 10.0) @ look_at(focus[0] + light.key * 5, focus[0])
        if skin is not None:
            self._vertices.write(np.concatenate(skin, 1).astype("f4").tobytes())
            self._draw_shadows(sun)
        self._samples.use()
        self._samples.clear(0, 0, 0, 0, depth=1.0)
        if self._panorama is not None:
            self._draw_sky(camera)
        self._gl.enable(self._gl.DEPTH_TEST)
        self._set_surface(camera, light, sun, skin is not None)
        for quad in self._quads:
            self._draw_part(quad, person=False)
        for part in self._person if skin is not None else []:
            self._draw_part(part, person=True)
        return self._resolve(camera, light)

    def _draw_shadows(self, sun: np.ndarray) -> None:
        self._shadow_buffer.use()
        self._shadow_buffer.clear(depth=1.0)
        self._gl.enable(self._gl.DEPTH_TEST)
        self._shadow["light_from_world"].write(_matrix(sun))
        self._shadow["image"] = 0
        for part in self._person:
            part.image.use(0)
            self._shadow["cutoff"] = _CUTOFF[part.material]
            part.shadow.render()

    def _draw_sky(self, camera: Camera) -> None:
        self._gl.disable(self._gl.DEPTH_TEST)
        self._panorama.use(3)
        self._sky["sky"] = 3
        self._sky["world_from_view"].write(_matrix(np.linalg.inv(camera.view)))
        self._sky["focal"] = camera.focal * self.block
        self._sky["side"] = float(self.size * self.block)
        self._sky_quad.render(self._gl.TRIANGLE_STRIP)

    def _set_surface(self, camera: Camera, light: Light, sun: np.ndarray, shadows: bool) -> None:
        program = self._surface
        program["clip_from_world"].write(_matrix(camera.projection @ camera.view))
        program["view"].write(_matrix(camera.view))
        program["light_from_world"].write(_matrix(sun))
        program["ambient"].write(light.ambient.astype("f4").tobytes())
        vectors = {"key": light.key, "key_colour": light.key_colour, "fill": light.fill, "eye": camera.eye}
        for name, value in (vectors | {"fill_colour": light.fill_colour}).items():
            program[name].write(value.astype("f4").tobytes())
        for unit, name in enumerate(("image", "bumps", "shadows", "sky")):
            program[name] = unit
        program["has_shadows"] = shadows
        program["is_catcher"] = False
        self._shadow_map.use(2)
        (self._panorama or self._white).use(3)

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

    def _resolve(self, camera: Camera, light: Light) -> Rendering:
        self._finished.use()
        self._gl.disable(self._gl.DEPTH_TEST)
        program = self._finish
        self._colours.use(0)
        self._depths.use(1)
        program["colours"], program["depths"] = 0, 1
        program["block"] = self.block
        program["focal"], program["exposure"] = float(camera.focal), float(light.exposure)
        program["strength"] = float(light.occlusion)
        program["white"] = tuple(float(x) for x in light.white)
        self._finish_quad.render(self._gl.TRIANGLE_STRIP)
        shape = (self.size, self.size, -1)
        colour = np.frombuffer(self._picture.read(), np.uint8).reshape(shape)[::-1]
        depth = np.frombuffer(self._picture_depth.read(), np.float32).reshape(shape)[::-1]
        return Rendering(colour[..., :3].copy(), depth[..., 0].copy(), depth[..., 1] >= 0.5)


def _plain(texture: Any) -> Any:
    import moderngl

    texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
    return texture


def _matrix(matrix: np.ndarray) -> bytes:
    """Column-major float32, as OpenGL reads it."""
    return matrix.T.astype("f4").tobytes()


def _kept(keep: list[Any], resource: Any) -> Any:
    keep.append(resource)
    return resource


def _release(keep: list[Any]) -> None:
    while keep:
        keep.pop().release()
