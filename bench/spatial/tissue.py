"""Spatial domains by default settings: which step finds the layers, at the number of classes and at the number found.

``python -m bench.spatial.tissue --data DIR``

Each set with ``obsm["spatial"]`` is run up to the stage ``tissue``; classes serve the scores alone. Domains are then
found from each seed as the stage ``cluster`` finds them: a mixture with one covariance on averages over the tissue, at
two scales, smoothed by 12 cells. Other rows leave one step out. A column ``sample`` of obs keeps slices apart. The
baseline is what six lines of scanpy and scikit-learn give. ``--peers`` adds to the rows of the page those of Leiden on
scanpy's components, which knows no coordinates, and the same smoothed by 12 cells. ``--default`` renews the rows of the
default.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of
from bench._frame.conditions import conditions
from bench._frame.labelled import LABELS, labelled_files, read_counted
from bench._frame.page import commands_of, table, write_page
from bench._frame.rows import read_rows, rows_of, write_rows
from scrcl.cluster.count_domains import count_domains
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import SMOOTHING_CELLS, ClusterSettings
from scrcl.engine.evaluate import score
from scrcl.engine.stages.tissue import TissueStage
from scrcl.graph.artifacts import NEIGHBOR_IDS, TISSUE_SPACE
from scrcl.graph.domains import majority_labels
from scrcl.graph.lattice import to_scale
from scrcl.io.labels import CellLabels

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata

    from scrcl.typing import FloatArray, IntArray

__all__ = ["MIXTURE", "baseline", "baseline_points", "main"]

SAMPLE = "sample"
WITHOUT: dict[str, list[str]] = {
    "scrcl, default": [],
    "- one average": ["tissue.steps=1"],
    "- 15 components averaged, not 50": ["tissue.from_comps=15"],
    "- a depth of 10,000": ["reduce.depth=fixed"],
    "- genes of unit variance": ["reduce.unit_variance=yes"],
    "- genes as they vary": ["reduce.unit_variance=no"],
    "- slices as they are": ["correct.method=none"],
}
"""Settings of each row"""

FOUND = "scrcl, default, K found"
ONE_SCALE = "- averages at one scale"
MIXTURE = ClusterSettings(algorithm="mixture")
Row = dict[str, Any]

PUBLISHED = """\
## Published figures

None of them is for the sets above, and none was measured here. The table of the scRCL paper (arXiv 2512.10640, Table 2;
five runs, the best epoch by the true labels) has, as ARI in percent:

| method | mouse embryo E9.5 | mouse brain anterior | human breast cancer |
|---|---|---|---|
| Spatial-MGCN | 38.7 | 43.2 | 54.6 |
| GraphST | 28.7 | 36.5 | 54.3 |
| MuCoST | 13.1 | 38.8 | 37.7 |
| MAEST | 30.6 | 36.5 | 51.3 |
| STAIG | 30.5 | 31.9 | 56.7 |
| scRCL | 42.4 | 50.7 | 65.8 |

For the twelve cortex slices the paper has a box plot without numbers. Users of STAGATE report an ARI of .42 to .60 by
the seed alone.""".splitlines()


def _rows(
    path: Path, scratch: Path, seeds: list[int], settings: list[str], only_default: bool
) -> Iterator[Row]:
    """Yield a row for each method and seed of a set; with ``only_default`` for the default alone."""
    cells = read_counted(path)
    true, samples = cells.obs[LABELS].to_numpy(), _samples(cells)
    k, coordinates = len(set(true)), to_scale(np.asarray(cells.obsm["spatial"]), samples)
    for at, (name, changed) in enumerate(WITHOUT.items()):
        config = runs.config_of(
            [*settings, *changed], spatial=True, sample_key=samples and SAMPLE, device="cpu"
        )
        out = scratch / f"{path.stem}-{at}"
        runs.run(path, out, config, until="tissue")
        run = runs.opened(out)
        points = np.asarray(run.open(TISSUE_SPACE))
        overlap, near = run.record(TissueStage).overlap, np.asarray(run.open(NEIGHBOR_IDS))
        ways = {name: (MIXTURE, True, k)}
        if not changed:
            counted = count_domains(points, samples=samples, overlap=overlap, seed=0).n_clusters
            ways[FOUND] = (MIXTURE, True, counted)
            others: dict[str, tuple[ClusterSettings, bool, int]] = {
                "- labels not smoothed": (MIXTURE, False, k),
                ONE_SCALE: (MIXTURE, True, k),
                "- k-means": (ClusterSettings(algorithm="kmeans"), True, k),
                "- linkage": (ClusterSettings(algorithm="linkage"), True, k),
            }
            ways |= {} if only_default else others
        for way, (how, smooths, n) in ways.items():
            for seed in seeds if way.startswith("scrcl") else seeds[:1]:
                around = None if way == ONE_SCALE else near
                labels = cluster(points, n, settings=how, seed=seed, overlap=overlap, around=around)
                if smooths:
                    labels = majority_labels(labels, coordinates, SMOOTHING_CELLS, samples=samples)
                yield {"set": path.stem, "method": way, "seed": seed, **score(labels, true)}
        if only_default:
            return
    averaged = baseline_points(cells, near)
    for seed in seeds:
        yield {
            "set": path.stem,
            "method": "baseline",
            "seed": seed,
            **score(baseline(averaged, k, seed), true),
        }


def _peer_rows(path: Path, seeds: list[int]) -> Iterator[Row]:
    """Yield rows of Leiden on the components of the expression alone."""
    from bench.accuracy.peers import by_leiden, by_leiden_1, components

    cells = read_counted(path)
    true, samples = cells.obs[LABELS].to_numpy(), _samples(cells)
    k, coordinates = len(set(true)), to_scale(np.asarray(cells.obsm["spatial"]), samples)
    for seed in seeds:
        points = np.asarray(components(path, seed=seed))
        at_k = by_leiden(points, k, seed=seed).astype(np.int32)
        smoothed = majority_labels(at_k, coordinates, SMOOTHING_CELLS, samples=samples)
        found = by_leiden_1(points, k, seed=seed)
        for method, labels in {
            "PCA + Leiden": at_k,
            "PCA + Leiden, smoothed": smoothed,
            "PCA + Leiden at 1, K found": found,
        }.items():
            yield {"set": path.stem, "method": method, "seed": seed, **score(labels, true)}


def _samples(cells: anndata.AnnData) -> CellLabels | None:
    if SAMPLE not in cells.obs:
        return None
    column = cells.obs[SAMPLE].astype("category").cat
    return CellLabels(column.codes.to_numpy(np.int32), tuple(map(str, column.categories)))


def baseline_points(cells: anndata.AnnData, near: IntArray) -> FloatArray:
    """Return 15 components of scaled log values, averaged twice over a cell and its neighbours."""
    import scanpy as sc

    if cells.n_vars > 2_000:
        sc.pp.highly_variable_genes(cells, flavor="seurat_v3", n_top_genes=2_000, subset=True)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    cells.X = np.asarray(cells.X.todense()) if sparse.issparse(cells.X) else cells.X
    sc.pp.scale(cells)
    points = sc.pp.pca(np.asarray(cells.X), n_comps=min(15, cells.n_vars - 1), random_state=0)
    whole = np.concatenate([np.arange(len(near))[:, None], near], axis=1)
    known = whole >= 0
    for _ in range(2):
        points = (points[whole] * known[:, :, None]).sum(axis=1) / known.sum(axis=1)[:, None]
    return np.asarray(points)


def baseline(points: FloatArray, k: int, seed: int) -> IntArray:
    """Return the components of a mixture with one covariance: the best of three starts."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(k, covariance_type="tied", n_init=3, random_state=seed)
    return np.asarray(model.fit_predict(points), np.int32)


def _table(rows: list[Row]) -> list[str]:
    """Return a row for each method: ARI in each set, mean and deviation over seeds, and the number found."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    lines = []
    methods = dict.fromkeys(row["method"] for row in rows)
    for method in sorted(methods, key=lambda name: not name.startswith("scrcl")):
        cells = []
        for name in names:
            mine = [r for r in rows if (r["set"], r["method"]) == (name, method)]
            aris = [row["ari"] for row in mine]
            text = f"{np.mean(aris):.3f} ± {np.std(aris):.3f}" if mine else ""
            if "found" in method and mine:
                text += f" ({mine[0]['n_clusters']} for {mine[0]['n_labels']})"
            cells.append(text)
        lines.append([method, *cells])
    return table(["ARI", *names], lines)


def _note(rows: list[Row]) -> str:
    seeds = sorted({row["seed"] for row in rows})
    return (
        f"Seeds {seeds}, mean ± standard deviation; rows that leave a step out, and Leiden, may have the first alone. "
        "At the number of classes, except where it is found. The baseline averages over the same neighbours. The "
        "`.jsonl` file of the same name has the rows."
    )


def _is_renewed(method: str, of_default: bool) -> bool:
    """Return whether rows of a method are made again when a page is renewed in part."""
    return method.startswith("scrcl, default" if of_default else "PCA")


def main(arguments: list[str] | None = None) -> None:
    """Run all sets; write the table and its rows."""
    parser = parser_of("bench.spatial.tissue", __doc__)
    add_data(parser)
    add_seeds(parser, [0, 1, 2, 3, 4])
    add_settings(parser)
    parser.add_argument("--peers", action="store_true", help="only add peers to the page")
    parser.add_argument("--default", action="store_true", help="only renew rows of the default")
    args = parsed(parser, arguments)
    renews = args.peers or args.default
    kept = read_rows(rows_of(args.out)) if renews else []
    commands = [*(commands_of(args.out) if renews else []), args.command]
    rows: list[Row] = [row for row in kept if not _is_renewed(row["method"], args.default)]
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        for path in labelled_files(args.data, args.sets, spatial=True):
            found = (
                _peer_rows(path, args.seeds)
                if args.peers
                else _rows(path, Path(folder), args.seeds, args.set, args.default)
            )
            for row in found:
                rows.append(row)
                print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
            write_rows(args.out, rows)
            body = [_note(rows), "", *_table(rows), "", *PUBLISHED]
            write_page(args.out, "Spatial domains by default", commands, conditions(), body)


if __name__ == "__main__":
    main()
