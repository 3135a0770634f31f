"""The gene graph: genes whose expression runs alike over the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.errors import InputError
from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.knn import knn
from scrcl.graph.rows import as_points

if TYPE_CHECKING:
    from scrcl.typing import FloatArray

__all__ = ["gene_graph"]


def gene_graph(sketch: FloatArray, k: int) -> Graph:
    """Join each gene to its ``k`` nearest genes in Euclidean distance, both ways.

    Parameters
    ----------
    sketch
        ndarray of float32, shape (n_genes, r), from `scrcl.graph.project.gene_sketch`.
    k
        Number of neighbours; where there are not more than ``k`` genes, all others.

    Raises
    ------
    InputError
        When ``k`` is below 1, or a value is not finite.
    """
    sketch = as_points(sketch, "sketch")
    if k < 1:
        msg = f"k must be at least 1; got {k}. Ask for one neighbour or more."
        raise InputError(msg)
    if len(sketch) < 2:
        return Graph(np.zeros(len(sketch) + 1, np.int64), np.empty(0, np.int32))
    found = knn(sketch, min(k, len(sketch) - 1), seed=0, backend="exact")
    return symmetric_graph(found.ids)
