"""Modules of genes: communities of the gene graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.graph.communities import leiden_of
from scrcl.graph.csr import connectivities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph

__all__ = ["NO_MODULE", "gene_modules"]

NO_MODULE = -1
"""Module of a gene without one."""

_LEAST_GENES = 3


def gene_modules(graph: Graph, *, seed: int) -> NDArray[np.int32]:
    """Return the module of each gene: Leiden with modularity at resolution 1.

    Parameters
    ----------
    graph
        Gene graph.
    seed
        Of the run.

    Returns
    -------
    ndarray of int32, shape (n_genes,)
        0 is the largest module. Genes of communities below three genes, such as genes without neighbours, have
        `NO_MODULE`.
    """
    found = leiden_of(connectivities(graph), seed=seed, name="genes.modules")(1.0)
    sizes = np.bincount(found)
    number = np.full(len(sizes), NO_MODULE, np.int32)
    by_size = np.argsort(-sizes, kind="stable")
    kept = by_size[sizes[by_size] >= _LEAST_GENES]
    number[kept] = np.arange(len(kept))
    modules: NDArray[np.int32] = number[found]
    return modules
