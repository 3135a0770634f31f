"""Two batches of one simulated atlas, with growing shifts: measures of batch mixing, and the effect of the correction.

``python -m bench.batches``

Both batches are drawn from the same types. Every gene of each batch has its own factor, log-normal with the deviation
``shift``. Each atlas is run with ``batch_key``, without and with the correction. The number of types is given. The
types are used only for the score.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_seeds, add_settings, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.page import table, write_results
from bench._frame.rows import RowLog

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

__all__ = ["main"]


@dataclass(frozen=True)
class _Case:
    """One atlas, plain or corrected, and what the stage ``cluster`` recorded about its batches."""

    shift: float
    corrected: bool
    seed: int
    n_cells: int
    ari_types: float
    nmi: float
    ari: float
    entropy: float
    """Mean over cells of the entropy of batches in their cluster"""
    entropy_of_all: float
    across_graph: float
    across_embedding: float
    across_expected: float
    effective_graph: float
    effective_embedding: float
    effective_expected: float


def _shifted_atlas(n_cells: int, n_genes: int, n_types: int, shift: float, *, seed: int) -> AnnData:
    """Return cells of two samples, ``obs["sample"]``, of equal size and types, whose genes differ by factors."""
    import anndata

    from scrcl._random import stream
    from scrcl.simulation import tree_atlas
    from scrcl.simulation.donors import SampleEffects

    plain = tree_atlas(n_cells, n_genes, n_types, 1, seed=seed)
    factors = np.exp(shift * stream(seed, "bench.batches").normal(size=(2, n_genes)))
    atlas = replace(
        plain,
        cells=replace(plain.cells, starts=np.array([0, n_cells // 2, n_cells])),
        effects=SampleEffects(
            factors.astype(np.float32),
            by_type=False,
            depth=np.repeat(plain.effects.depth, 2),
            ambient=np.repeat(plain.effects.ambient, 2),
        ),
        ambient=np.repeat(plain.ambient, 2, axis=0),
    )
    return anndata.AnnData(atlas.rows(0, n_cells), obs=atlas.obs(), var=atlas.var)


def _run_case(
    cells: AnnData, shift: float, *, corrected: bool, seed: int, settings: list[str]
) -> _Case:
    """Run up to the clusters and read the record."""
    from scrcl.engine.evaluate import score

    config = runs.config_of(
        [*settings, f"correct.method={'harmony' if corrected else 'none'}"],
        n_clusters=cells.obs["cell_type"].nunique(),
        seed=seed,
        batch_key="sample",
    )
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(cells, out, config, until="batches")
        labels = runs.labels(out)
        found = runs.batch_mixing(out)
    assert found is not None, "a run with batches records how they mix"
    graph, near = found.graph, found.embedding
    return _Case(
        shift=shift,
        corrected=corrected,
        seed=seed,
        n_cells=len(labels),
        ari_types=score(labels, cells.obs["cell_type"])["ari"],
        nmi=found.nmi,
        ari=found.ari,
        entropy=float(np.average(found.entropy, weights=np.bincount(labels))),
        entropy_of_all=found.entropy_of_all,
        across_graph=graph.across,
        across_embedding=near.across,
        across_expected=graph.across_expected,
        effective_graph=graph.effective_batches,
        effective_embedding=near.effective_batches,
        effective_expected=graph.effective_expected,
    )


def _batches_table(cases: list[_Case]) -> list[str]:
    """Return a table with a row for each atlas, plain and corrected."""
    columns = ["shift", "components", "seed", "ARI, types", "NMI, batches", "ARI, batches"]
    columns += ["entropy in clusters (of all)", "other batch: graph", "embedding", "at random"]
    columns += ["effective batches: graph", "embedding", "of all"]
    return table(columns, map(_row, cases))


def _row(c: _Case) -> list[object]:
    return [
        f"{c.shift:g}",
        "corrected" if c.corrected else "plain",
        c.seed,
        f"{c.ari_types:.3f}",
        f"{c.nmi:.3f}",
        f"{c.ari:.3f}",
        f"{c.entropy:.2f} ({c.entropy_of_all:.2f})",
        f"{c.across_graph:.1%}",
        f"{c.across_embedding:.1%}",
        f"{c.across_expected:.1%}",
        f"{c.effective_graph:.2f}",
        f"{c.effective_embedding:.2f}",
        f"{c.effective_expected:.2f}",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run all atlases and write the table and its rows."""
    parser = parser_of("bench.batches", __doc__)
    add_seeds(parser, [0, 1])
    add_settings(parser)
    parser.add_argument(
        "--shifts", type=_shifts, default=[0.0, 0.2, 0.5], help="deviations of the log factors"
    )
    parser.add_argument("--cells", type=int, default=3_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--types", type=int, default=8)
    args = parsed(parser, arguments)
    cases: list[_Case] = []
    with RowLog(args.out) as log:
        for shift, seed in product(args.shifts, args.seeds):
            cells = _shifted_atlas(args.cells, args.genes, args.types, shift, seed=seed)
            for corrected in (False, True):
                case = _run_case(cells, shift, corrected=corrected, seed=seed, settings=args.set)
                cases.append(case)
                log.append({**stamp(), **asdict(case)})
                print(case, flush=True)
    _write(args, cases)


def _shifts(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _write(args: argparse.Namespace, cases: list[_Case]) -> None:
    notes = (
        f"{args.cells:,} cells of {args.types} types in two samples; factors of genes by sample, log-normal with the "
        "deviation `shift`. NMI, ARI and entropy are those in `run.json`, of clusters against samples. Effective "
        "batches are the mean inverse Simpson index of 15 neighbours, in the cell graph and in E."
    )
    body = [notes, "", *_batches_table(cases)]
    write_results(args, "Clusters and batches", body)


if __name__ == "__main__":
    main()
