"""Two batches of one simulated atlas, further and further apart: what figures of batches say, what balancing brings.

``python -m bench.batches --out bench/results/NAME.md``

Both batches are drawn from the same types; every gene of each batch has a factor of its own, log-normal with the
deviation ``shift``. Each atlas is run with ``batch_key`` alone and with ``graph.balanced`` beside it. The number of
types is given; types are read only to score.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.process import commit

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Case", "main", "run_case", "shifted_atlas", "table"]


@dataclass(frozen=True)
class Case:
    """One atlas, plain or balanced, and what the stage ``cluster`` recorded of its batches."""

    shift: float
    balanced: bool
    seed: int
    n_cells: int
    ari_types: float
    nmi: float
    ari: float
    entropy: float
    """Mean over cells of the entropy of batches in their cluster."""
    entropy_of_all: float
    across_graph: float
    across_embedding: float
    across_expected: float
    effective_graph: float
    effective_embedding: float
    effective_expected: float


def shifted_atlas(n_cells: int, n_genes: int, n_types: int, shift: float, *, seed: int) -> AnnData:
    """Return cells of two samples of equal size and like types, ``obs["sample"]``, whose genes differ by factors."""
    import anndata

    from scrcl._random import stream
    from scrcl.simulation import tree_atlas

    plain = tree_atlas(n_cells, n_genes, n_types, 1, seed=seed)
    factors = np.exp(shift * stream(seed, "bench.batches").normal(size=(2, n_genes)))
    atlas = replace(
        plain,
        cells=replace(plain.cells, starts=np.array([0, n_cells // 2, n_cells])),
        effects=factors.astype(np.float32),
        ambient=np.repeat(plain.ambient, 2, axis=0),
        sample_depth=np.repeat(plain.sample_depth, 2),
    )
    return anndata.AnnData(atlas.rows(0, n_cells), obs=atlas.obs(), var=atlas.var)


def run_case(
    cells: AnnData, shift: float, *, balanced: bool, seed: int, settings: list[str]
) -> Case:
    """Run up to the clusters and read the record."""
    from scrcl.engine.evaluate import score
    from scrcl.engine.load_config import load_config
    from scrcl.engine.pipeline import run_matrix
    from scrcl.io.open import from_anndata

    asked = [*settings, f"graph.balanced={str(balanced).lower()}"]
    own = {"n_clusters": cells.obs["cell_type"].nunique(), "seed": seed, "batch_key": "sample"}
    config = load_config(settings=asked, overrides=own)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        done = run_matrix(lambda _: from_anndata(cells), out, config, until="cluster")
        labels = np.load(out / "stages" / "cluster" / "labels.npy")
    found: dict[str, Any] = done.stages[-1]["batches"]
    graph, near = found["graph"], found["embedding"]
    return Case(
        shift=shift,
        balanced=balanced,
        seed=seed,
        n_cells=len(labels),
        ari_types=score(labels, cells.obs["cell_type"])["ari"],
        nmi=found["nmi"],
        ari=found["ari"],
        entropy=float(np.average(found["entropy"], weights=np.bincount(labels))),
        entropy_of_all=found["entropy_of_all"],
        across_graph=graph["across"],
        across_embedding=near["across"],
        across_expected=graph["across_expected"],
        effective_graph=graph["effective_batches"],
        effective_embedding=near["effective_batches"],
        effective_expected=graph["effective_expected"],
    )


def table(cases: list[Case]) -> str:
    """Markdown: a row an atlas and way."""
    head = (
        "| shift | graph | seed | ARI, types | NMI, batches | ARI, batches | entropy in clusters (of all) "
        "| other batch: graph | embedding | at random | effective batches: graph | embedding | of all |"
    )
    return "\n".join([head, "|---" * 13 + "|", *map(_row, cases)])


def _row(c: Case) -> str:
    return (
        f"| {c.shift:g} | {'balanced' if c.balanced else 'plain'} | {c.seed} | {c.ari_types:.3f} | {c.nmi:.3f} "
        f"| {c.ari:.3f} | {c.entropy:.2f} ({c.entropy_of_all:.2f}) | {c.across_graph:.1%} "
        f"| {c.across_embedding:.1%} | {c.across_expected:.1%} | {c.effective_graph:.2f} "
        f"| {c.effective_embedding:.2f} | {c.effective_expected:.2f} |"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run all atlases and write the table, with the figures as JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--shifts", default="0,0.2,0.5", help="deviations of the log factors")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--cells", type=int, default=3_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--types", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], help="a setting of the runs")
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d"), help="date in the heading")
    given = parser.parse_args(arguments)
    cases = []
    for shift in map(float, given.shifts.split(",")):
        for seed in map(int, given.seeds.split(",")):
            cells = shifted_atlas(given.cells, given.genes, given.types, shift, seed=seed)
            for balanced in (False, True):
                case = run_case(cells, shift, balanced=balanced, seed=seed, settings=given.set)
                cases.append(case)
                print(case, flush=True)
    given.out.write_text(_page(given, cases), encoding="utf-8")
    given.out.with_suffix(".json").write_text(json.dumps([asdict(c) for c in cases], indent=1))


def _page(given: argparse.Namespace, cases: list[Case]) -> str:
    settings = "".join(f" --set {one}" for one in given.set)
    return (
        f"# Figures of batches, {given.date}\n\n"
        f"`python -m bench.batches --out {given.out} --shifts {given.shifts} --seeds {given.seeds} "
        f"--cells {given.cells} --genes {given.genes} --types {given.types}{settings}`\n\n"
        f"Commit {commit()}; {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}. "
        f"{given.cells:,} cells of {given.types} types in two samples; factors of genes by sample, log-normal with the "
        "deviation `shift`. NMI, ARI and entropy are those that `run.json` has of clusters against samples; effective "
        "batches are the mean inverse Simpson index of 15 neighbours, in the cell graph and in E.\n\n"
        f"{table(cases)}\n"
    )


if __name__ == "__main__":
    main()
