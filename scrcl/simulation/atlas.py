"""A simulated atlas: annotations of all cells in memory, counts drawn for any range of rows.

Counts are drawn in groups of cells, each group from its own random stream. So a row is the same in every range that
contains it. What the groups share (profiles of types and samples, types of the cells) is made with the atlas and never
changes. So several threads may draw rows, and so may processes that received a pickled atlas.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scrcl._random import stream
from scrcl.errors import InputError
from scrcl.simulation.difficulty import Difficulty
from scrcl.simulation.donors import DonorSettings, SampleEffects, sample_effects
from scrcl.simulation.layout import CellPlan, apportion, plan_cells, type_sizes
from scrcl.simulation.templates import template_profiles
from scrcl.simulation.tree import tree_profiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.simulation.profiles import TypeProfiles
    from scrcl.typing import Csr, FloatArray

__all__ = ["SimulatedAtlas", "template_atlas", "tree_atlas"]

_GROUP_ROWS = 256
"""Cells of a group. Another number gives other cells, because a group is one random stream."""
_MEDIAN_GENES = 1_000
_AMBIENT_SHARE = 0.03
"""Median share of a cell's counts that come from ambient RNA."""
_AMBIENT_SD = 0.5
_MAX_AMBIENT = 0.3
_LIKE_SAMPLES = DonorSettings()
_USUAL = Difficulty()
_VERSION = 1
"""Raise it when the same parameters give other cells."""


@dataclass(frozen=True)
class SimulatedAtlas:
    """Cells of known types whose counts are drawn on demand; made by `tree_atlas` or `template_atlas`.

    Parameters
    ----------
    seed
        Seed of all random streams.
    types
        What the cells of each type are drawn from.
    cells
        Type, sample and coordinates of each cell.
    effects
        How the samples differ.
    ambient
        Share of each gene in the ambient counts of each sample: float32, shape (n_samples, n_genes).
    identity
        All parameters, as JSON values. Atlases with equal identities are equal.
    dropout
        Share of the values above zero that are lost.
    """

    seed: int
    types: TypeProfiles
    cells: CellPlan
    effects: SampleEffects
    ambient: FloatArray
    identity: dict[str, Any]
    dropout: float = 0.0

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.cells.types)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.types.genes)

    @property
    def var(self) -> pd.DataFrame:
        """Table of genes, with their names as index and no columns."""
        return pd.DataFrame(index=self.types.genes)

    def obs(self) -> pd.DataFrame:
        """Return the table of all cells (types, branches, samples, domains): about 80 bytes per cell."""
        kinds, plan = self.types, self.cells
        table = {"cell_type": _categorical(plan.types, list(kinds.names))}
        if kinds.branches:
            branches = list(dict.fromkeys(kinds.branches))
            of_type = np.array([branches.index(branch) for branch in kinds.branches])
            table["branch"] = _categorical(of_type[plan.types], branches)
        n_samples = len(plan.starts) - 1
        samples = np.repeat(np.arange(n_samples), np.diff(plan.starts))
        table["sample"] = _categorical(samples, _numbered("sample", n_samples))
        if plan.domains is not None:
            names = _numbered("domain", int(plan.domains.max()) + 1)
            table["domain"] = _categorical(plan.domains, names)
        return pd.DataFrame(table, index=pd.Index([f"cell{i}" for i in range(1, self.n_obs + 1)]))

    def obsm(self) -> dict[str, FloatArray]:
        """Return ``spatial``, float32, shape (n_obs, 2), in micrometres; nothing if the atlas is not spatial."""
        return {} if self.cells.coordinates is None else {"spatial": self.cells.coordinates}

    def rows(self, start: int, stop: int) -> Csr:
        """Return the counts of cells ``start`` to ``stop``.

        Whole groups of 256 cells are drawn, so ranges cost least if they begin and end at multiples of 256. Several
        threads may call it at once.

        Returns
        -------
        csr_matrix of float32, shape (stop - start, n_vars)
            Values are integers; column indices are ascending, without repeats.

        Raises
        ------
        InputError
            The range is not within the cells of the atlas.
        """
        if not 0 <= start <= stop <= self.n_obs:
            message = (
                f"start and stop must be within the {self.n_obs:,} cells; got {start} and {stop}. "
                "Choose a range of existing rows."
            )
            raise InputError(message)
        if start == stop:
            return sparse.csr_matrix((0, self.n_vars), dtype=np.float32)
        blocks = []
        for group in range(start // _GROUP_ROWS, -(-stop // _GROUP_ROWS)):
            first = group * _GROUP_ROWS
            block = self._group(group)
            if first < start or first + block.shape[0] > stop:
                block = block[max(start - first, 0) : stop - first]
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")

    def _group(self, group: int) -> Csr:
        """Return the counts of one group of cells."""
        from scrcl.simulation.kernel import draw_counts

        rng = stream(self.seed, "io.simulate.rows", group)
        cells = np.arange(group * _GROUP_ROWS, min((group + 1) * _GROUP_ROWS, self.n_obs))
        types = self.cells.types[cells].astype(np.int64)
        samples = np.searchsorted(self.cells.starts, cells, side="right") - 1
        depths = self.types.draw_depths(types, rng) * self.effects.depth[samples]
        states = self.types.draw_states(types, rng)
        of_cells = rng.lognormal(0, _AMBIENT_SD, len(cells)) * self.effects.ambient[samples]
        ambient = np.minimum(_AMBIENT_SHARE * of_cells, _MAX_AMBIENT)
        # A cell mixes two neighbouring states of its type; the first has the larger share.
        second = rng.uniform(0, 0.5, len(cells))
        shares = np.stack([(1 - ambient) * (1 - second), (1 - ambient) * second, ambient], axis=1)
        # Room for every gene of every cell. The system provides memory only for the pages that are written.
        genes = np.empty(len(cells) * self.n_vars, dtype=np.int32)
        counts = np.empty(len(genes), dtype=np.float32)
        ends = draw_counts(
            rng,
            self.types.profiles,
            states,
            self.effects.genes,
            self.effects.rows(samples, types),
            self.ambient,
            samples,
            (depths[:, None] * shares).astype(np.float32),
            self.types.dispersion,
            genes,
            counts,
        )
        filled = slice(0, ends[-1])
        drawn = sparse.csr_matrix(
            (counts[filled].copy(), genes[filled].copy(), ends), shape=(len(cells), self.n_vars)
        )
        return self._after_dropout(drawn, group)

    def _after_dropout(self, drawn: Csr, group: int) -> Csr:
        """Return the counts of one group without those that are lost."""
        if self.dropout:
            # A stream of its own: what is left has the counts that it has without dropout.
            rng = stream(self.seed, "io.simulate.dropout", group)
            drawn.data[rng.random(drawn.nnz) < self.dropout] = 0
            drawn.eliminate_zeros()
        return drawn


def tree_atlas(
    n_cells: int,
    n_genes: int,
    n_types: int,
    n_samples: int = 1,
    *,
    seed: int,
    spatial: bool = False,
    donors: DonorSettings = _LIKE_SAMPLES,
    difficulty: Difficulty = _USUAL,
) -> SimulatedAtlas:
    """Return an atlas of invented cell types, which are the leaves of a tree.

    The median cell has about 1,000 detected genes, or a fifth of ``n_genes`` if that is less.

    Parameters
    ----------
    n_cells, n_genes, n_types, n_samples
        Numbers of cells, genes, types and samples.
    seed
        Seed of all random streams.
    spatial
        Place the cells of each sample in a tissue slice with spatial domains.
    donors
        How far the samples differ.
    difficulty
        How hard the types are to tell apart.

    Raises
    ------
    InputError
        A number is below 1, or there are more types or samples than cells.
    """
    _check_sizes(n_cells, n_genes=n_genes, n_types=n_types, n_samples=n_samples)
    sizes = type_sizes(
        n_cells, n_types, stream(seed, "io.simulate.sizes"), orders=difficulty.imbalance
    )
    types = tree_profiles(
        n_genes,
        sizes / n_cells,
        stream(seed, "io.simulate.tree"),
        median_genes=max(1, min(_MEDIAN_GENES, n_genes // 5)),
        signal=difficulty.signal,
    )
    identity = {"kind": "tree", "n_genes": n_genes, "n_types": n_types}
    atlas = _assemble(
        types, sizes, n_samples, seed=seed, spatial=spatial, donors=donors, identity=identity
    )
    return _harder(atlas, difficulty)


def template_atlas(
    counts: Csr,
    labels: Sequence[Any] | pd.Series,
    genes: pd.Index,
    n_cells: int,
    n_samples: int = 1,
    *,
    seed: int,
    spatial: bool = False,
    donors: DonorSettings = _LIKE_SAMPLES,
    dropout: float = 0.0,
) -> SimulatedAtlas:
    """Return an atlas with the types of real cells, and their shares, depths and dispersions.

    Parameters
    ----------
    counts
        Real cells, shape (n_cells, n_genes).
    labels
        Type of each real cell. Cells without a label, or with an empty one, are left out.
    genes
        Names of the genes.
    n_cells, n_samples
        Numbers of cells and samples of the atlas.
    seed
        Seed of all random streams.
    spatial
        Place the cells of each sample in a tissue slice with spatial domains.
    donors
        How far the samples differ.
    dropout
        Share of the values above zero that are lost.

    Raises
    ------
    InputError
        A number is below 1, there are more types or samples than cells, values are not counts, or no cell has both a
        label and counts.
    """
    types, real = template_profiles(counts, labels, genes)
    _check_sizes(n_cells, n_types=len(real), n_samples=n_samples)
    identity = {"kind": "template", "profiles": types.digest()}
    sizes = apportion(real, n_cells)
    atlas = _assemble(
        types, sizes, n_samples, seed=seed, spatial=spatial, donors=donors, identity=identity
    )
    return _harder(atlas, Difficulty(dropout))


def _harder(atlas: SimulatedAtlas, difficulty: Difficulty) -> SimulatedAtlas:
    """Return the atlas that also loses counts, and says what it was made with if that is not the usual."""
    if difficulty == _USUAL:
        return atlas
    identity = {**atlas.identity, **asdict(difficulty)}
    return replace(atlas, dropout=difficulty.dropout, identity=identity)


def _assemble(
    types: TypeProfiles,
    sizes: Any,
    n_samples: int,
    *,
    seed: int,
    spatial: bool,
    donors: DonorSettings,
    identity: dict[str, Any],
) -> SimulatedAtlas:
    """Return the atlas of these types, with effects of its samples."""
    plan = plan_cells(
        sizes,
        n_samples,
        seed=seed,
        spatial=spatial,
        missing_types=donors.missing_types,
        n_own_types=donors.n_own_types,
    )
    rng = stream(seed, "io.simulate.effects")
    ambient = (plan.counts @ types.mean_profiles()) / plan.counts.sum(axis=1, keepdims=True)
    return SimulatedAtlas(
        seed=seed,
        types=types,
        cells=plan,
        effects=sample_effects(plan.counts, len(types.genes), donors, rng),
        ambient=ambient.astype(np.float32),
        identity={
            **identity,
            "version": _VERSION,
            "seed": seed,
            "n_cells": int(sizes.sum()),
            "n_samples": n_samples,
            "spatial": spatial,
            **({} if donors == _LIKE_SAMPLES else asdict(donors)),
        },
    )


def _check_sizes(n_cells: int, **sizes: int) -> None:
    """Raise InputError if a number is below 1, or if there are too few cells."""
    for name, value in {"n_cells": n_cells, **sizes}.items():
        if value < 1:
            message = f"{name} must be 1 or more; got {value}. Choose at least one."
            raise InputError(message)
    for name in ("n_types", "n_samples"):
        if sizes[name] > n_cells:
            message = (
                f"{name} must be at most {n_cells:,}, the number of cells; got {sizes[name]:,}. "
                "Choose more cells."
            )
            raise InputError(message)


def _categorical(codes: Any, names: Any) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, names)


def _numbered(name: str, n: int) -> list[str]:
    width = len(str(n))
    return [f"{name} {i:0{width}d}" for i in range(1, n + 1)]
