"""Smooth fields on a mesh or a grid that interpolate known values."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float
from scipy.sparse.linalg import cg

_TOLERANCE = 1e-4
_ITERATIONS = 400


def laplacian(neighbors: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the graph Laplacian, degrees minus weights, of a symmetric (n, n) matrix of weights."""
    return (sparse.diags(np.asarray(neighbors.sum(1)).ravel()) - neighbors).tocsr()


def spread(
    differences: sparse.csr_matrix,
    weight: Float[np.ndarray, " n"],
    value: Float[np.ndarray, "n c"],
    hold: float = 1e-4,
) -> Float[np.ndarray, "n c"]:
    """Return the smoothest field that passes near given values.

    Args:
        differences: (n, n) Laplacian of the graph, as `laplacian` returns it.
        weight: Weight of each value; 0 where the value is unknown.
        value: The values; any number where the weight is 0.
        hold: Weight of the value 0 everywhere: the field decays to 0 far from known values.
    """
    # Conjugate gradients with a diagonal (Jacobi) preconditioner.
    system = (differences + sparse.diags(weight + hold)).tocsr()
    scale = sparse.diags(1 / system.diagonal())
    columns = [
        cg(system, weight * column, rtol=_TOLERANCE, maxiter=_ITERATIONS, M=scale)[0] for column in value.T
    ]
    return np.stack(columns, -1)


def steps_away(neighbors: sparse.csr_matrix, lengths: sparse.csr_matrix, inside: np.ndarray) -> np.ndarray:
    """Return the distance of each vertex from the border of a set of vertices, along edges; 0 outside.

    Args:
        neighbors: (n, n) 1 where two vertices share an edge.
        lengths: (n, n) lengths of the edges, meters.
        inside: (n,) bool, the set.
    """
    from scipy.sparse.csgraph import dijkstra

    rim = np.flatnonzero(~inside & (neighbors @ inside.astype(float) > 0))
    if not rim.size:
        return np.where(inside, np.inf, 0.0)
    distance = dijkstra(lengths, indices=rim, min_only=True)
    return np.where(inside, distance, 0.0)
