"""Simulated Visium slices with all genes: which genes, how many components, and the baseline.

``python -m bench.spatial.visium --data DIR``

Slices of several kinds (`bench.spatial.cortex`) have the first 500, 2,000 or all 10,000 genes. Where ``--data`` has
``dlpfc_151510``, slices of even seeds take the profiles of 500 genes from it. Each is run up to the stage ``tissue``,
by default and with one setting changed, and its layers are found as the stage ``cluster`` finds them, or by k-means or
linkage of the same averages. The baseline is that of `bench.spatial.tissue`. ``--kinds uneven`` takes the slices whose
layers do not vary alike.
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np

from bench._frame import runs
from bench._frame.arguments import (
    add_data,
    add_seeds,
    add_settings,
    choices_of,
    numbers,
    parsed,
    parser_of,
)
from bench._frame.labelled import LABELS
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.spatial.cortex import KINDS, N_GENES, UNEVEN, cortex, measured_profiles
from bench.spatial.tissue import MIXTURE, baseline, baseline_points
from scrcl.cluster.count_domains import count_domains
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import SMOOTHING_CELLS, ClusterSettings
from scrcl.engine.evaluate import score
from scrcl.engine.stages.tissue import TissueStage
from scrcl.graph.artifacts import NEIGHBOR_IDS, TISSUE_SPACE
from scrcl.graph.domains import majority_labels

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench._frame.rows import Row

__all__ = ["main"]

MEASURED = "dlpfc_151510.h5ad"
CHANGED = {
    "scrcl, default": [],
    "- genes by seurat_v3": ["features.flavor=seurat_v3"],
    "- 15 components averaged": ["tissue.from_comps=15"],
    "- 30 components averaged": ["tissue.from_comps=30"],
    "- 10 components kept": ["tissue.n_kept=10"],
    "- one average": ["tissue.steps=1"],
    "- three averages": ["tissue.steps=3"],
    "- a depth of 10,000": ["reduce.depth=fixed"],
    "- genes as they vary": ["reduce.unit_variance=no"],
}
"""Settings of each row"""

ALIKE: dict[str, ClusterSettings] = {
    "- k-means": ClusterSettings(algorithm="kmeans"),
    "- linkage": ClusterSettings(algorithm="linkage"),
}
"""Rows of other clusterings of the default's averages"""

FOUND = "scrcl, default, K found"


def _rows(
    cells: anndata.AnnData, scratch: Path, seed: int, settings: list[str], steps: list[str]
) -> Iterator[Row]:
    """Yield a row for each way to find the layers of a slice."""
    file = scratch / "slice.h5ad"
    cells.write_h5ad(file)
    true, coordinates = cells.obs[LABELS].to_numpy(), cells.obsm["spatial"]
    k, near = cells.obs[LABELS].nunique(), None
    for method in (step for step in steps if step in CHANGED):
        config = runs.config_of(
            [*settings, *CHANGED[method]], spatial=True, device="cpu", seed=seed
        )
        out = scratch / "run"
        runs.run(file, out, config, until="tissue", restart=True)
        run = runs.opened(out)
        points, record = np.asarray(run.open(TISSUE_SPACE)), run.record(TissueStage)
        around = np.asarray(run.open(NEIGHBOR_IDS))
        ways = {method: (MIXTURE, k)}
        if not CHANGED[method]:
            near = around
            counted = count_domains(points, samples=None, overlap=record.overlap, seed=seed)
            ways[FOUND] = (MIXTURE, counted.n_clusters)
            ways |= {step: (ALIKE[step], k) for step in steps if step in ALIKE}
        for way, (how, n) in ways.items():
            labels = cluster(
                points, n, settings=how, seed=seed, overlap=record.overlap, around=around
            )
            labels = majority_labels(labels, coordinates, SMOOTHING_CELLS)
            yield {"method": way, **score(labels, true)}
    if near is not None:
        labels = baseline(baseline_points(cells, near), k, seed)
        yield {"method": "baseline", **score(labels, true)}


def _table(rows: list[Row]) -> list[str]:
    """Return a row for each method: mean ARI over seeds for each number of genes and kind, and over kinds."""
    cases = [
        (n, kind)
        for n in dict.fromkeys(row["genes"] for row in rows)
        for kind in [*dict.fromkeys(row["kind"] for row in rows), None]
    ]
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        line = [method]
        for n, kind in cases:
            mine = [r for r in rows if (r["method"], r["genes"]) == (method, n)]
            mine = [r for r in mine if kind in (None, r["kind"])]
            text = f"{np.mean([row['ari'] for row in mine]):.2f}" if mine else ""
            if method == FOUND and kind is not None:
                text += f" ({', '.join(str(row['n_clusters']) for row in mine)})"
            line.append(f"**{text}**" if kind is None and mine else text)
        lines.append(line)
    return table(["ARI", *(f"{n:,}: {kind or 'mean'}" for n, kind in cases)], lines)


def _kinds(text: str) -> list[str]:
    """Return the kinds that are named, or all of `UNEVEN`."""
    return list(UNEVEN) if text == "uneven" else choices_of(KINDS | UNEVEN, "kinds")(text)


def main(arguments: list[str] | None = None) -> None:
    """Simulate and run all slices; write the table and its rows."""
    parser = parser_of("bench.spatial.visium", __doc__)
    add_data(parser)
    add_seeds(parser, [0, 1])
    add_settings(parser)
    parser.add_argument("--genes", type=numbers, default=[500, 2_000, N_GENES])
    parser.add_argument(
        "--kinds",
        type=_kinds,
        default=list(KINDS),
        help="separated by commas, or uneven for all kinds of which layers do not vary alike",
    )
    parser.add_argument(
        "--steps",
        type=choices_of(CHANGED | ALIKE, "rows", ";"),
        default=[*CHANGED, *ALIKE],
        help="separated by ;",
    )
    args = parsed(parser, arguments)
    rows = logged(args.out, _all_rows(args))
    note = (
        f"Simulated slices of 3,500 spots, 7 layers, seeds {args.seeds}; the mean over seeds. In parentheses the "
        "numbers found for 7. Columns are the number of genes and the kind of the slice (`bench.spatial.cortex`)."
    )
    write_results(args, "Simulated Visium slices", [note, "", *_table(rows)])


def _all_rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of all slices. Those of even seeds have measured profiles, if they are there."""
    file = args.data / MEASURED
    measured = measured_profiles(anndata.read_h5ad(file)) if file.exists() else None
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        for n_genes, kind, seed in product(args.genes, args.kinds, args.seeds):
            profiles = measured if seed % 2 == 0 else None
            cells = cortex(kind, n_genes=n_genes, seed=seed, measured=profiles)
            case = {"genes": n_genes, "kind": kind, "slice": seed}
            for row in _rows(cells, Path(folder), seed, args.set, args.steps):
                yield {**case, **row}


if __name__ == "__main__":
    main()
