"""Cell-gene associations of the refinement against known markers, with and without it.

``python -m bench.genes.associations --data DIR --markers FILE``

Groups of cells are the labelled types, and k-means at their number on the embedding E (without the refinement) and on
Z = E (W U) (with it); a group of k-means has the type of most of its cells. Genes of a group are ordered in five ways,
by the mean inside minus the mean outside of:

==================  ===================================================================
E W                 the associations as the paper writes them (Eq. 7)
Z U^T               the same through the embeddings of the genes
fit to Z            log values by least squares from Z, as a run writes them
fit to E            the same without the refinement
expression          the log values themselves
==================  ===================================================================

AUC: of the known markers of the type among the selected genes, mean over groups. Top three: share of known markers.
Labels score, and nothing else.
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import labelled_files, read_labelled
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.genes.known import TYPES, known_markers

if TYPE_CHECKING:
    from bench._frame.rows import Row

__all__ = ["GROUPS", "WAYS", "main", "scored"]

WAYS = ("E W", "Z U^T", "fit to Z", "fit to E", "expression")
GROUPS = ("types", "k-means on E", "k-means on Z")
_LEAST_KNOWN = 3
_TOP = 3


def _values(out: Path) -> dict[str, Any]:
    """Return the association of each cell and selected gene by each way, and both embeddings."""
    import torch

    model: Any = runs.opened(out).model.model
    inputs = runs.training_inputs(out)
    logs = runs.log_values(out).toarray()
    e, z = (np.load(out / "stages" / "embed" / f"{name}.npy") for name in ("embedding", "refined"))
    with torch.no_grad():
        u = model.gene_embedding(torch.from_numpy(np.array(inputs.genes))).numpy()
        w = model.W.numpy()
    both = [sum(np.split(points, 2, axis=1)) for points in (e, z)]
    ways = (both[0] @ w, both[1] @ u.T, _fitted(logs, z), _fitted(logs, e), logs)
    return {"ways": dict(zip(WAYS, ways, strict=True)), "E": e, "Z": z}


def _fitted(logs: Any, points: Any) -> Any:
    centred = points - points.mean(axis=0)
    return centred @ np.linalg.lstsq(centred, logs - logs.mean(axis=0), rcond=1e-5)[0]


def scored(
    values: Any, groups: Any, types: Any, genes: Any, known: dict[str, set[str]]
) -> tuple[float, float]:
    """Return the mean AUC of known markers and the share of them among the first three genes.

    Parameters
    ----------
    values
        shape (n_cells, n_genes)
    groups, types
        Group and type of each cell. A group stands for the type of most of its cells.
    known
        Markers by type. Groups of other types, or with fewer than three markers among the genes, are not scored.
    """
    from sklearn.metrics import roc_auc_score

    aucs, tops = [], []
    for group in np.unique(groups):
        inside = groups == group
        names, counts = np.unique(types[inside], return_counts=True)
        of_type = np.isin(genes, list(known.get(str(names[counts.argmax()]), ())))
        if of_type.sum() < _LEAST_KNOWN or inside.all():
            continue
        score = values[inside].mean(axis=0) - values[~inside].mean(axis=0)
        aucs.append(roc_auc_score(of_type, score))
        tops.append(of_type[np.argsort(-score, kind="stable")[:_TOP]].mean())
    return float(np.mean(aucs)), float(np.mean(tops))


def _measured(path: Path, seed: int, known: dict[str, set[str]], settings: list[str]) -> list[Row]:
    import anndata
    from sklearn.cluster import KMeans

    labelled = read_labelled(path)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder)
        runs.run(path, out, runs.config_of(settings, seed=seed), until="embed")
        found, selected = _values(out), runs.selected_genes(out)
        types = labelled.labels.astype(str)[runs.retained(out)]
    cells = anndata.read_h5ad(path, backed="r")
    genes = np.asarray(cells.var_names[selected])
    cells.file.close()
    groups = {"types": types}
    for space in ("E", "Z"):
        means = KMeans(len(set(types)), n_init=4, random_state=0)
        groups[f"k-means on {space}"] = means.fit_predict(found[space])
    return [
        {
            "dataset": path.stem,
            "seed": seed,
            "groups": name,
            "way": way,
            **dict(zip(("auc", "top"), scored(values, labels, types, genes, known), strict=True)),
        }
        for name, labels in groups.items()
        for way, values in found["ways"].items()
    ]


def _tables(rows: list[Row]) -> list[str]:
    sets = list(dict.fromkeys(row["dataset"] for row in rows))
    body = []
    for name in sets:
        for groups in GROUPS:
            cells = []
            for way in WAYS:
                own = [
                    row
                    for row in rows
                    if (row["dataset"], row["groups"], row["way"]) == (name, groups, way)
                ]
                auc, top = ([row[key] for row in own] for key in ("auc", "top"))
                cells.append(
                    f"{np.mean(auc):.3f} ({min(auc):.2f} to {max(auc):.2f}), {np.mean(top):.2f}"
                )
            body.append([name, groups, *cells])
    n = len({row["seed"] for row in rows})
    return [
        f"AUC of known markers: mean over {n} seeds (lowest to highest); share of known markers among the first three.",
        "",
        *table(["set", "groups", *WAYS], body),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure on every set that has known markers, and write the page and its rows."""
    parser = parser_of("bench.genes.associations", __doc__)
    add_data(parser)
    parser.add_argument("--markers", type=Path, required=True, help="table of known markers")
    add_seeds(parser, [0, 1, 2])
    add_settings(parser)
    args = parsed(parser, arguments)
    with_types = [path for path in labelled_files(args.data, args.sets) if path.stem in TYPES]
    found = (
        {**stamp(), **row}
        for path, seed in product(with_types, args.seeds)
        for row in _measured(path, seed, known_markers(args.markers, path.stem), args.set)
    )
    rows = logged(args.out, found)
    write_results(args, "Cell-gene associations", _tables(rows))


if __name__ == "__main__":
    main()
