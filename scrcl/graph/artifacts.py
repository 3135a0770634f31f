"""What the stages that build graphs leave for later stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl._contract import Artifact, loaded_by
from scrcl.io.arrays import stored_array

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.graph.partition import Partition

__all__ = [
    "CELL_GRAPH",
    "CSR",
    "DEGREE_COUNTS",
    "GENE_GRAPH",
    "GENE_SKETCH",
    "NEIGHBOR_DISTANCES",
    "NEIGHBOR_IDS",
    "PARTITION",
    "TISSUE_SPACE",
]

CSR = "csr"
"""Folder of a graph inside the folder of its stage."""

CELL_GRAPH: Artifact[Graph] = Artifact("cell graph", loaded_by("scrcl.graph.csr:Graph.load", CSR))
"""Symmetric and binary; its edges stay on disk."""

NEIGHBOR_IDS: Artifact[Any] = stored_array("nearest neighbours", "ids.npy")
"""Memory map of int, shape (n_cells, n_neighbors): -1 where a cell has fewer."""

NEIGHBOR_DISTANCES: Artifact[Any] = stored_array("distances of neighbours", "distances.npy")
"""Memory map of float32, of the shape of `NEIGHBOR_IDS`."""

DEGREE_COUNTS: Artifact[Any] = stored_array("degrees of the cell graph", "degrees.npy")
"""ndarray of int: cells with 0, 1, 2, ... neighbours."""

PARTITION: Artifact[Partition] = Artifact(
    "partition of the cells", loaded_by("scrcl.graph.partition:Partition.load", "partition")
)
"""Lists of near cells, and the order of the cells that they give."""

TISSUE_SPACE: Artifact[Any] = stored_array("averages over the tissue", "space.npy")
"""Memory map of float32, shape (n_cells, n_comps): the space in which spatial domains are found."""

GENE_GRAPH: Artifact[Graph] = Artifact("gene graph", loaded_by("scrcl.graph.csr:Graph.load", CSR))

GENE_SKETCH: Artifact[Any] = stored_array("gene sketch", "sketch.npy")
"""ndarray of float, shape (n_genes, n_comps): loadings times singular values."""
