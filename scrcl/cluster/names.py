"""Names of the clustering algorithms, without their code: reading settings imports nothing else."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["IN_WORDS", "Algorithm"]

Algorithm: TypeAlias = Literal["vote", "auto", "linkage", "ward", "kmeans", "leiden", "mixture"]

IN_WORDS: dict[Algorithm, str] = {
    "vote": "the vote of scrcl: Leiden communities that neighbour graphs of the components and of other scalings of "
    "the counts agree on, merged where no valley of few cells lies between them",
    "auto": "Leiden communities of the embedding and of the components, or average linkage",
    "linkage": "average linkage of micro-clusters in the embedding",
    "ward": "Ward linkage of micro-clusters in the embedding",
    "kmeans": "k-means in the embedding",
    "leiden": "Leiden communities",
    "mixture": "a mixture of Gaussians with one covariance in several sizes",
}
"""What stands after "found by" in the text for a methods section."""
