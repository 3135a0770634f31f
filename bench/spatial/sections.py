"""Sections of several patients: domains are shared by the sections, and patients differ by any strength.

``python -m bench.spatial.sections --peers``

Sections are simulated (`bench.spatial.patients`): they differ in size, shape and angle, their coordinates overlap, and
some lack a domain. Each set is run up to the stage ``tissue``, with the default and with slices as they are. Domains
are then found as the stage ``cluster`` finds them, at the number of classes and at the number found. A domain is of one
section if that holds 90 % of it. With ``--alone`` the last domain is in one section alone, and the table has how well
it is found: the largest F1 of a domain.
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_seeds, add_settings, numbers, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.spatial.patients import N_DOMAINS, PATIENT, patients

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from anndata import AnnData

    from bench._frame.rows import Row
    from scrcl.typing import BoolArray, IntArray

__all__ = ["main"]

_WAYS = {"default": "auto", "slices as they are": "none"}
_OF_ONE = 0.9
_ALONE = 2
"""The section that alone has the last domain, with ``--alone``."""


def _rows(cells: AnnData, seed: int, settings: list[str], peers: bool) -> Iterator[Row]:
    """Yield a row for each way, and with ``peers`` one for scanpy's components with Leiden."""
    from scrcl.cluster.count_domains import count_domains
    from scrcl.engine.stages.correct import CorrectStage
    from scrcl.engine.stages.tissue import TissueStage
    from scrcl.graph.artifacts import NEIGHBOR_IDS, TISSUE_SPACE
    from scrcl.io.labels import CellLabels

    of_patients = cells.obs[PATIENT].cat
    samples = CellLabels(of_patients.codes.to_numpy(np.int32), tuple(of_patients.categories))
    k = cells.obs[LABELS].nunique()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        file = Path(folder) / "cells.h5ad"
        cells.write_h5ad(file)
        for way, method in _WAYS.items():
            config = runs.config_of(
                settings, seed=seed, spatial=True, sample_key=PATIENT, device="cpu",
                correct={"method": method},
            )  # fmt: skip
            out = Path(folder) / method
            runs.run(file, out, config, until="tissue")
            run = runs.opened(out)
            points, record = np.asarray(run.open(TISSUE_SPACE)), run.record(CorrectStage)
            found, of_tissue = 1, run.record(TissueStage)
            how = {"overlap": of_tissue.overlap, "around": np.asarray(run.open(NEIGHBOR_IDS))}
            if not of_tissue.is_uniform:
                found = count_domains(
                    points, samples=samples, overlap=of_tissue.overlap, seed=seed
                ).n_clusters
            yield {
                "way": way,
                "centred": record.centred,
                "n_apart": of_tissue.n_apart,
                **{
                    f"{name}_{at}": value
                    for at, n in (("at_k", k), ("found", found))
                    for name, value in _scores(cells, points, n, samples, seed, how).items()
                },
            }
        if peers:
            yield {"way": "PCA + Leiden", "centred": False, **_leiden(cells, file, k, seed)}


def _scores(
    cells: AnnData, points: Any, n: int, samples: Any, seed: int, how: dict[str, Any]
) -> Row:
    from scrcl.cluster.find import cluster
    from scrcl.cluster.settings import SMOOTHING_CELLS, ClusterSettings
    from scrcl.graph.domains import majority_labels

    settings = ClusterSettings(algorithm="mixture")
    labels = cluster(points, n, settings=settings, seed=seed, **how)
    labels = majority_labels(labels, cells.obsm["spatial"], SMOOTHING_CELLS, samples=samples)
    return _scores_of(cells, labels)


def _leiden(cells: AnnData, file: Path, k: int, seed: int) -> Row:
    from bench.accuracy.peers import by_leiden, by_leiden_1, components

    points = np.asarray(components(file, seed=seed))
    return {
        f"{name}_{at}": value
        for at, labels in (
            ("at_k", by_leiden(points, k, seed=seed)),
            ("found", by_leiden_1(points, k, seed=seed)),
        )
        for name, value in _scores_of(cells, labels).items()
    }


def _scores_of(cells: AnnData, labels: IntArray) -> Row:
    """Return the agreement with domains and with sections, and the number of domains of one section."""
    from sklearn.metrics import normalized_mutual_info_score

    from scrcl._crosstab import crosstab
    from scrcl.engine.evaluate import score

    sections = cells.obs[PATIENT].cat.codes.to_numpy()
    n = int(labels.max()) + 1
    counts = crosstab(labels, sections, n, int(sections.max()) + 1)
    sizes = counts.sum(axis=1)
    of_one = (counts.max(axis=1) > _OF_ONE * sizes) & (sizes > 0)
    return {
        "k": int((sizes > 0).sum()),
        "ari": score(labels, cells.obs[LABELS].to_numpy())["ari"],
        "nmi_sections": float(normalized_mutual_info_score(sections, labels)),
        "of_one": int(of_one.sum()),
        "f1_last": _f1(labels, (cells.obs[LABELS] == f"domain {N_DOMAINS - 1}").to_numpy()),
    }


def _f1(labels: IntArray, true: BoolArray) -> float:
    """Return how well a domain is found: the largest F1 of those that are found."""
    both, sizes = np.bincount(labels[true], minlength=labels.max() + 1), np.bincount(labels)
    return float((2 * both / np.maximum(sizes + true.sum(), 1)).max())


def _table(rows: list[Row], alone: bool) -> list[str]:
    columns = ["effect", "seed", "run", "ARI at K", "domains of one section", "NMI with sections"]
    columns += ["ARI found (K for true)", "domains of one section", "NMI with sections"]
    columns += ["F1 of the domain of one section, at K", "found"] if alone else []
    return table(
        columns,
        [
            [
                row["effect"], row["seed"], row["way"] + (" (moved to one mean)" if row["centred"] else ""),
                f"{row['ari_at_k']:.2f}", f"{row['of_one_at_k']} of {row['k_at_k']}",
                f"{row['nmi_sections_at_k']:.2f}",
                f"{row['ari_found']:.2f} ({row['k_found']} for {row['k_true']})",
                f"{row['of_one_found']} of {row['k_found']}", f"{row['nmi_sections_found']:.2f}",
                *([f"{row['f1_last_at_k']:.2f}", f"{row['f1_last_found']:.2f}"] if alone else []),
            ]
            for row in rows
        ],
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Simulate and run all sets; write the table and its rows."""
    parser = parser_of("bench.spatial.sections", __doc__)
    add_seeds(parser, [0, 1])
    add_settings(parser)
    parser.add_argument("--effects", type=numbers, default=[0, 50, 100, 150], help="in percent")
    parser.add_argument("--peers", action="store_true", help="also scanpy, with Leiden")
    parser.add_argument("--alone", action="store_true", help="one section has a domain of its own")
    parser.add_argument("--sections", type=int, default=8)
    parser.add_argument("--genes", type=int, default=2_000)
    args = parsed(parser, arguments)
    rows = logged(args.out, _all_rows(args))
    note = (
        f"{args.sections} sections. An effect of 1 is a strong difference between donors, as in `scrcl simulate`. "
        "Labels of scrcl are smoothed by 12 spots, as by default; those of Leiden are not."
    )
    write_results(args, "Sections of several patients", [note, "", *_table(rows, args.alone)])


def _all_rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of all simulated sets."""
    for effect, seed in product(args.effects, args.seeds):
        alone = _ALONE if args.alone else None
        cells = patients(
            args.sections, effect=effect / 100, seed=seed, n_genes=args.genes, alone=alone
        )
        case = {"effect": effect / 100, "seed": seed, "k_true": cells.obs[LABELS].nunique()}
        for row in _rows(cells, seed, args.set, args.peers):
            yield {**stamp(), **case, **row}


if __name__ == "__main__":
    main()
