"""Profiles of cell types, invented or from real cells, and how cells are drawn from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.typing import FloatArray, IntArray

__all__ = ["TypeProfiles"]


@dataclass(frozen=True)
class TypeProfiles:
    """Expression of cell types. Each type has a few states, and each of its cells mixes two of them.

    Parameters
    ----------
    genes
        Unique names of the genes.
    names
        Name of each type.
    branches
        Branch of the tree for each type; empty without a tree.
    profiles
        Share of each gene in the counts of a state, float32, shape (n_states, n_genes). The states of a type are
        consecutive, and similar ones are neighbours: a cell mixes neighbouring states.
    starts
        First state of each type, and the end: int64, shape (n_types + 1,).
    weights
        Share of each state in its type, float64, shape (n_states,).
    dispersion
        Negative binomial dispersion of each gene, float32, shape (n_genes,).
    log_depth
        Quantiles of the log of a cell's total counts, at evenly spaced probabilities from 0 to 1: float64, shape
        (n_types, n_quantiles).
    """

    genes: pd.Index
    names: tuple[str, ...]
    branches: tuple[str, ...]
    profiles: FloatArray
    starts: IntArray
    weights: FloatArray
    dispersion: FloatArray
    log_depth: FloatArray

    def mean_profiles(self) -> FloatArray:
        """Return the mean profile of each type: float32, shape (n_types, n_genes)."""
        weighted = zip(self.starts[:-1], self.starts[1:], strict=True)
        return np.stack([self.weights[a:b] @ self.profiles[a:b] for a, b in weighted]).astype(
            np.float32
        )

    def draw_states(self, types: IntArray, rng: np.random.Generator) -> IntArray:
        """Return, for each cell, two states of its type: neighbours, or the same state twice.

        Returns
        -------
        ndarray of int32, shape (n_cells, 2)
        """
        ends = np.cumsum(
            self.weights
        )  # weights sum to 1 within a type, so type t is from t to t + 1
        first = np.searchsorted(ends, types + rng.random(len(types)), side="right")
        both = np.stack([first, first + rng.choice([-1, 1], len(types))], axis=1)
        least, most = self.starts[types], self.starts[types + 1] - 1
        states: IntArray = np.clip(both, least[:, None], most[:, None]).astype(np.int32)
        return states

    def draw_depths(self, types: IntArray, rng: np.random.Generator) -> FloatArray:
        """Return the expected counts of each cell: float64, shape (n_cells,)."""
        # Inverse transform: a uniform number is a position among the quantiles, with linear interpolation between them.
        position = rng.random(len(types)) * (self.log_depth.shape[1] - 1)
        left = position.astype(np.int64)
        low, high = self.log_depth[types, left], self.log_depth[types, left + 1]
        depths: FloatArray = np.exp(low + (position - left) * (high - low))
        return depths

    def digest(self) -> str:
        """Return a hash of everything that determines the cells of a type."""
        digest = hashlib.blake2b("\n".join([*self.genes, "", *self.names]).encode(), digest_size=16)
        for array in (self.profiles, self.starts, self.weights, self.dispersion, self.log_depth):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
