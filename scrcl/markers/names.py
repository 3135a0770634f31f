"""Names of clusters, from tables of marker genes.

A gene counts for a cluster by how far its mean there lies above the mean elsewhere, in standard deviations of the
gene. The score of a set is the sum over its genes, compared with sets of as many random genes of the same mean
expression: in standard deviations of such sums. A gene that many sets share counts less.

References
----------
Ianevski, Giri, Aittokallio: Fully-automated and ultra-fast cell-type identification using specific marker combinations
from single-cell transcriptomic data. Nature Communications 2022 (weights of shared genes).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._group_means import group_means
from scrcl.io.gene_names import symbol_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd

    from scrcl.markers.profiles import Profiles
    from scrcl.markers.tables import MarkerSet
    from scrcl.typing import FloatArray, IntArray

__all__ = [
    "SCORE_MEANING",
    "SECOND_MEANING",
    "UNKNOWN",
    "GeneNames",
    "Name",
    "gene_names",
    "is_text",
    "name_clusters",
    "set_scores",
    "with_second",
]

UNKNOWN = "unknown"

SCORE_MEANING = (
    "A score is how many standard deviations the genes of a type lie above random genes of the same "
    "expression."
)

SECOND_MEANING = f"In brackets: the second best name, and its score below the best. {SCORE_MEANING}"

_LEAST_GENES = 3
"""Genes of a set that must be in the data."""

_BINS = 25
"""Genes of a bin have about the same mean expression."""

_LEAST_DEVIATION = 0.15
"""Added to the deviation of a gene: that of hardly expressed genes is close to 0."""

_NEAR = 0.75
"""Of the best score: a second one beyond it is near."""

_OTHER_GENES = 0.2
"""Two types have other genes if they share at most this part of the smaller set. More are kindred types, such as T
cells and helper T cells, whose scores are near on any of their cells."""

_TOP = 10
"""Markers of a cluster that are compared with the set of its name."""


class GeneNames(NamedTuple):
    """Where the genes of a table are in the data.

    Attributes
    ----------
    position
        Position of each gene of the table that is in the data, by its name in the table.
    column
        Column of var that has the names; None: the index.
    n_wanted
        Genes of the table.
    any_case
        Whether upper and lower case were taken as the same.
    """

    position: dict[str, int]
    column: str | None
    n_wanted: int
    any_case: bool


class Name(NamedTuple):
    """The name of a cluster, and the next best.

    Attributes
    ----------
    name
        `UNKNOWN` if no score reaches the least.
    score, second_score
        In standard deviations of random sets.
    precision
        Share of the cluster's first ten markers that are in the set of the best.
    recall
        Share of the set's genes in the data that are among the listed markers of the cluster.
    genes
        Positions of the set's genes that lie above random ones in the cluster, those that add most to the score first.
    shared
        Of the smaller of the two sets, the share of genes that both have.
    """

    name: str
    best: str
    score: float
    second: str
    second_score: float
    precision: float
    recall: float
    genes: tuple[int, ...]
    shared: float = 0.0

    @property
    def may_be_mixed(self) -> bool:
        """Whether a type with other genes fits nearly as well: the cluster may hold both."""
        is_near = self.second_score >= _NEAR * self.score
        return self.name != UNKNOWN and bool(is_near) and self.shared <= _OTHER_GENES


def with_second(name: str, second: str | None, gap: float | None) -> str:
    """Return the name of a cluster, the second best, and how far its score lies below."""
    return f"{name} (or {second}, {gap:.1f} lower)" if second and gap is not None else name


def gene_names(var: pd.DataFrame, sets: Sequence[MarkerSet]) -> GeneNames:
    """Find the genes of a table in the index or in a text column of var, whichever has most of them."""
    wanted = {gene for each in sets for gene in each.genes}
    candidates = [None, *(str(name) for name in var if is_text(var[name]))]
    best = GeneNames({}, None, len(wanted), False)
    for any_case in (False, True):
        for column in candidates:
            names = var.index if column is None else var[column]
            place = _places(list(map(str, names)), any_case=any_case)
            found = {
                gene: place[key]
                for gene in sorted(wanted)
                if (key := gene.upper() if any_case else gene) in place
            }
            # Another spelling must find many more: "Cd3d" and "CD3D" are genes of two species.
            if len(found) > (2 if any_case else 1) * len(best.position):
                best = GeneNames(found, column, len(wanted), any_case)
    return best


def _places(names: Sequence[str], *, any_case: bool) -> dict[str, int]:
    """Return where each name is, and each symbol inside a name that is no name itself."""
    place: dict[str, int] = {}
    for texts in (names, map(symbol_in, names)):
        for position, text in enumerate(texts):
            place.setdefault(text.upper() if any_case else text, position)
    return place


def is_text(column: pd.Series) -> bool:
    """Return whether a column of a table holds texts."""
    import pandas as pd

    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return bool(pd.api.types.is_string_dtype(values) or values.dtype == object)


def set_scores(profiles: Profiles, sets: Sequence[tuple[str, IntArray]]) -> FloatArray:
    """Return the score of each set in each cluster, shape (n_clusters, n_sets).

    Parameters
    ----------
    sets
        Name, and positions of the genes that are in the data.
    """
    beyond, variance = _beyond_random(profiles)
    weights = _weights(sets)
    scores = np.empty((beyond.shape[1], len(sets)))
    for i, (_, genes) in enumerate(sets):
        weight = np.array([weights[int(gene)] for gene in genes])[:, None]
        sums = (weight * beyond[genes]).sum(axis=0)
        scores[:, i] = sums / np.sqrt((weight**2 * variance[genes]).sum(axis=0))
    return scores


def _beyond_random(profiles: Profiles) -> tuple[FloatArray, FloatArray]:
    """Return how far each gene lies above the mean gene of the same expression, and the variance of such genes.

    Both have the shape (n_genes, n_clusters).
    """
    total = profiles.mean.astype(np.float64) * profiles.cells
    n_all = profiles.cells.sum()
    others = (total.sum(axis=1, keepdims=True) - total) / np.maximum(n_all - profiles.cells, 1)
    above = (profiles.mean - others) / (profiles.deviation[:, None] + _LEAST_DEVIATION)
    expressed = total.sum(axis=1) / max(n_all, 1)
    rank = np.argsort(np.argsort(expressed, kind="stable"), kind="stable")
    bins = rank * _BINS // len(rank)
    mean = group_means(above, bins, _BINS)
    variance = np.maximum(group_means(above**2, bins, _BINS) - mean**2, 1e-12)
    return above - mean[bins], variance[bins]


def _weights(sets: Sequence[tuple[str, IntArray]]) -> dict[int, float]:
    """Return the weight of each gene: less for one that many sets have."""
    shared = Counter(int(gene) for _, genes in sets for gene in genes)
    return {gene: n**-0.5 for gene, n in shared.items()}


def name_clusters(
    profiles: Profiles,
    sets: Sequence[MarkerSet],
    found: GeneNames,
    *,
    min_score: float,
    markers: Sequence[Sequence[int]],
) -> list[Name]:
    """Return the name of each cluster; empty if no set has enough genes in the data.

    Parameters
    ----------
    found
        Where the genes of the sets are.
    min_score
        Below this a cluster is `UNKNOWN`.
    markers
        For each cluster, positions of its marker genes, best first.
    """
    usable = [
        (each.name, np.unique([found.position[g] for g in each.genes if g in found.position]))
        for each in sets
    ]
    usable = [
        (name, genes.astype(np.int64)) for name, genes in usable if len(genes) >= _LEAST_GENES
    ]
    if not usable:
        return []
    named, beyond, weights = [], _beyond_random(profiles)[0], _weights(usable)
    every = zip(set_scores(profiles, usable), markers, beyond.T, strict=True)
    for scores, of_cluster, above in every:
        order = np.argsort(-scores, kind="stable")
        best, genes = usable[order[0]][0], set(usable[order[0]][1].tolist())
        second = int(order[1]) if len(order) > 1 else None
        others = genes if second is None else set(usable[second][1].tolist())
        top = list(of_cluster[:_TOP])
        named.append(
            Name(
                best if scores[order[0]] >= min_score else UNKNOWN,
                best,
                float(scores[order[0]]),
                "" if second is None else usable[second][0],
                0.0 if second is None else float(scores[second]),
                len(genes & set(top)) / max(len(top), 1),
                len(genes & set(of_cluster)) / len(genes),
                _adding_to_score(genes, above, weights),
                len(genes & others) / min(len(genes), len(others)),
            )
        )
    return named


def _adding_to_score(
    genes: Collection[int], above: FloatArray, weights: Mapping[int, float]
) -> tuple[int, ...]:
    """Return the genes that lie above random ones, those that add most first."""
    adding = [gene for gene in genes if above[gene] > 0]
    return tuple(sorted(adding, key=lambda gene: (-weights[gene] * above[gene], gene)))
