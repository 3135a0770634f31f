"""The number of types and the types themselves, over families of sets: few types, one type, few cells of many types.

``python -m bench.accuracy.types --data DIR``

Each set without coordinates gives a case of every family that it has types for:

========  =======================================================================================
sets      the set itself, at most ``--most-cells`` of its cells
small     300 of its cells
few       its largest type and two others, of 3 and 20 % of its size
rare      up to 2,000 of its cells, ten of one type and those of all others; up to three such types
one       its largest type alone: one cluster is right
poisson   counts of one profile at the totals of the cells: one cluster is right
========  =======================================================================================

and those of `bench.accuracy.sparse`, which have 100 to 400 cells.

Cells are clustered on components, without training: labels by ``vote`` do not depend on the embedding if all cells
vote and no more clusters are asked for than are supported; the components stand for it here. Labels of the sets decide
which cells a case has, and score. No clustering sees them, but some see their number.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.arguments import add_data, choices_of, parsed, parser_of, words
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS, labelled_files
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.accuracy.cases import FOUND_F1, RARE, best_f1, measured
from bench.accuracy.peer_genes import selected
from bench.accuracy.peers import by_kmeans, by_leiden, by_leiden_1
from bench.accuracy.sparse import SPARSE, one_profile, sparse_versions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from anndata import AnnData

    from bench._frame.rows import Row

__all__ = ["FAMILIES", "main", "versions"]

FAMILIES = ("sets", "small", "few", "rare", "one", "poisson", *SPARSE)
ONE_TYPE = ("one", "poisson", "sparse_one", "sparse_poisson")
BEHIND = 0.05
SMALL_CELLS = 300
LEAST_CELLS = 12
SHARES = (0.03, 0.2)
N_COMPS = 50
N_RARE, WITH_RARE, N_RARE_DRAWS = 10, 2_000, 3
REDUCED = "reduced"
"""Name in uns of the type of ten cells in a case of ``rare``."""


def versions(cells: AnnData, most_cells: int, *, seed: int) -> Iterator[tuple[str, AnnData]]:
    """Yield the family and the cells of each case of a set; ``cells`` are counts with labels."""
    rng = np.random.default_rng(seed)
    types = cells.obs[LABELS].astype(str).to_numpy()
    yield "sets", _some(cells, np.arange(cells.n_obs), most_cells, rng)
    if cells.n_obs > 2 * SMALL_CELLS:
        yield "small", _some(cells, np.arange(cells.n_obs), SMALL_CELLS, rng)
    names, sizes = np.unique(types, return_counts=True)
    largest = names[sizes.argmax()]
    inside = np.flatnonzero(types == largest)
    others = rng.permutation(names[(names != largest) & (sizes >= LEAST_CELLS)])
    if len(others) >= len(SHARES):
        n = min(len(inside), most_cells)
        parts = [rng.permutation(inside)[:n]]
        for name, share in zip(others, SHARES, strict=False):
            size = max(int(share * n), LEAST_CELLS)
            parts.append(rng.permutation(np.flatnonzero(types == name))[:size])
        yield "few", cells[np.sort(np.concatenate(parts))].copy()
    yield from (("rare", case) for case in _with_rare(cells, types, largest, seed=seed))
    yield "one", _some(cells, inside, most_cells, rng)
    yield "poisson", one_profile(_some(cells, np.arange(cells.n_obs), most_cells, rng), rng)
    yield from sparse_versions(cells, seed=seed)


def _with_rare(cells: AnnData, types: Any, largest: str, *, seed: int) -> Iterator[AnnData]:
    """Yield cells with ten of one type, for types that are not the largest; its name is in uns."""
    rng = np.random.default_rng(seed)
    names, sizes = np.unique(types, return_counts=True)
    if cells.n_obs < WITH_RARE // 2:
        return
    for name in rng.permutation(names[(sizes >= N_RARE) & (names != largest)])[:N_RARE_DRAWS]:
        few = rng.permutation(np.flatnonzero(types == name))[:N_RARE]
        others = rng.permutation(np.flatnonzero(types != name))[: WITH_RARE - N_RARE]
        case = cells[np.sort(np.concatenate([few, others]))].copy()
        case.uns[REDUCED] = str(name)
        yield case


def _some(cells: AnnData, rows: Any, most: int, rng: np.random.Generator) -> AnnData:
    return cells[np.sort(rng.permutation(rows)[:most])].copy()


def _clusterings(cells: AnnData, algorithms: list[str]) -> tuple[dict[str, Any], Any]:
    """Return clusters by the name of each way, and the types of the cells that have counts."""
    import scanpy as sc

    from scrcl.cluster.agreement import MOST_COMPS
    from scrcl.cluster.find import find_clusters
    from scrcl.cluster.protocol import Representations, Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.prep.scalings import median_depth_scores, residual_scores, scores_inside

    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        path = Path(folder) / "cells.h5ad"
        cells.write_h5ad(path)
        genes = selected(path)
    types = genes.obs[LABELS].astype(str).to_numpy()
    totals = np.asarray(cells.X.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    sc.pp.pca(genes, n_comps=min(N_COMPS, min(genes.shape) - 1), random_state=0)
    points, k = np.ascontiguousarray(genes.obsm["X_pca"], np.float32), len(set(types))
    logs = genes.X.tocsr().astype(np.float32)
    rows = [points[:, :MOST_COMPS]]
    rows += [f(logs, totals, MOST_COMPS) for f in (median_depth_scores, residual_scores)]
    spaces = Spaces(
        points,
        points,
        representations=lambda some: Representations([one[some] for one in rows]),
        inside=lambda some: Representations(scores_inside(logs[some], totals[some], MOST_COMPS)),
    )
    found = {"Leiden at 1": by_leiden_1(points, k, seed=0)}
    if k > 1:
        found |= {
            "Leiden at K": by_leiden(points, k, seed=0),
            "k-means at K": by_kmeans(points, k, seed=0),
        }
    for algorithm in algorithms:
        name, *others = algorithm.split("/")
        changed = dict(one.split("=", 1) for one in others)
        settings = ClusterSettings(algorithm=name, **changed)
        for at, number in (("found", None), ("at K", k)):
            if number != 1:
                labels = find_clusters(spaces, number, settings=settings, seed=0).labels
                found[f"{algorithm} {at}"] = labels
    return found, types


def _tables(rows: list[Row]) -> list[str]:
    ways = list(dict.fromkeys(row["way"] for row in rows))
    ways.sort(key=lambda way: ("at K" in way, way))
    body = []
    for family in FAMILIES:
        inside = [row for row in rows if row["family"] == family]
        if inside:
            n = len({(row["dataset"], row["draw"]) for row in inside})
            body.append([f"{family} ({n})", *(_cell(inside, way) for way in ways)])
    rare = [
        [f"below {percent} %", *(_rare(rows, way, at) for way in ways)]
        for at, percent in enumerate(RARE)
    ]
    reduced = [row for row in rows if "reduced_found" in row]
    if reduced:
        found = [_reduced(reduced, way) for way in ways]
        rare.append(["of ten cells, in the family `rare`", *found])
    legend = (
        "Mean ARI and, in brackets, mean error of K as a share of K. Of families with one type: mean K and, in "
        "brackets, the share of cases with one cluster."
    )
    return [
        legend,
        "",
        *table(["family (cases)", *ways], body),
        "",
        *_behind(rows, ways),
        "",
        "Rare types found (F1 of a half or more with a cluster), of all in families with more than one type:",
        "",
        *table(["types", *ways], rare),
        *_each(rows, "sets", ways),
        *_each(rows, "sparse", ways),
    ]


def _behind(rows: list[Row], ways: list[str]) -> list[str]:
    """Return in how many cases of several types a way is clearly behind its peers."""
    found = {(r["family"], r["dataset"], r["draw"], r["way"]): r["ari"] for r in rows}
    cases = sorted({key[:3] for key in found if key[0] not in ONE_TYPE})
    lines = []
    for way in ways:
        peers = ("Leiden at K", "k-means at K") if "at K" in way else ("Leiden at 1",)
        if way not in peers and cases:
            lowest = [min(found[*case, peer] for peer in peers) - BEHIND for case in cases]
            n = sum(found[*case, way] < least for case, least in zip(cases, lowest, strict=True))
            lines.append(
                f"`{way}` is more than {BEHIND} below {' and '.join(peers)} in {n} of {len(cases)} cases."
            )
    return lines


def _each(rows: list[Row], family: str, ways: list[str]) -> list[str]:
    """Return a table of the mean ARI and number of clusters of each set in a family."""
    inside = [row for row in rows if row["family"] == family]
    body = []
    for name in dict.fromkeys(row["dataset"] for row in inside):
        own = [row for row in inside if row["dataset"] == name]
        body.append([f"{name} ({_mean(own, 'k')})"])
        for way in ways:
            some = [row for row in own if row["way"] == way]
            body[-1].append(
                f"{np.mean([r['ari'] for r in some]):.2f} ({_mean(some, 'n_clusters')})"
            )
    if not body:
        return []
    title = f"Each set of `{family}`: ARI and number of clusters, means over draws."
    return ["", title, "", *table(["set (K)", *ways], body)]


def _mean(rows: list[Row], name: str) -> str:
    return f"{np.mean([row[name] for row in rows]):.3g}"


def _cell(rows: list[Row], way: str) -> str:
    own = [row for row in rows if row["way"] == way]
    if not own:
        return ""
    if own[0]["family"] in ONE_TYPE:
        n = [row["n_clusters"] for row in own]
        return f"{np.mean(n):.1f} ({np.mean(np.array(n) == 1):.0%})"
    error = np.mean([abs(row["n_clusters"] - row["k"]) / row["k"] for row in own])
    return f"{np.mean([row['ari'] for row in own]):.3f} ({error:.0%})"


def _rare(rows: list[Row], way: str, at: int) -> str:
    own = [row for row in rows if row["way"] == way and row["k"] > 1]
    return f"{sum(row['rare_found'][at] for row in own)} of {sum(row['rare'][at] for row in own)}"


def _reduced(rows: list[Row], way: str) -> str:
    own = [row["reduced_found"] for row in rows if row["way"] == way]
    return f"{sum(own)} of {len(own)}"


def main(arguments: list[str] | None = None) -> None:
    """Cluster all cases and write the tables and their rows."""
    parser = parser_of("bench.accuracy.types", __doc__)
    add_data(parser)
    parser.add_argument("--most-cells", type=int, default=3000)
    parser.add_argument("--families", type=choices_of(FAMILIES, "families"), default=list(FAMILIES))
    parser.add_argument(
        "--algorithms",
        type=words,
        default=["vote", "auto"],
        help="final clusterings, each with settings of its own after slashes, as vote/rare_cells=0",
    )
    args = parsed(parser, arguments)
    rows = logged(args.out, _rows(args))
    write_results(args, "Number of types", _tables(rows))


def _rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the score of each clustering of each version of the sets without coordinates."""
    from collections import Counter

    import anndata
    from scipy.sparse import csr_matrix

    for path in labelled_files(args.data, args.sets):
        read = anndata.read_h5ad(path)
        if "spatial" in read.obsm:
            continue
        obs = read.obs[[LABELS]].astype(str)
        cells = anndata.AnnData(csr_matrix(read.X), obs=obs, var=read.var[[]].copy())
        seed = zlib.crc32(path.stem.encode())
        draws: Counter[str] = Counter()
        for family, some in versions(cells, args.most_cells, seed=seed):
            if family not in args.families:
                continue
            draws[family] += 1
            found, types = _clusterings(some, args.algorithms)
            for way, labels in found.items():
                case = {
                    "dataset": path.stem,
                    "family": family,
                    "draw": draws[family],
                    "way": way,
                    "k": len(set(types)),
                }
                if REDUCED in some.uns:
                    case["reduced_found"] = _is_found(labels, types == some.uns[REDUCED])
                yield {**stamp(), **measured(labels, types), **case}


def _is_found(labels: Any, inside: Any) -> bool:
    return bool(best_f1(labels, inside)[1][-1] >= FOUND_F1)


if __name__ == "__main__":
    main()
