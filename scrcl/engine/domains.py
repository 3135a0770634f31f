"""Domains of a tissue: clusters refined by the spots around, and how coherent they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.named import read_named
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.engine.cluster import Clusters
    from scrcl.engine.stage import Run
    from scrcl.typing import IntArray

__all__ = ["coherence_of_run", "coherence_text", "domain_facts", "missed_clusters", "refined"]


def refined(run: Run, found: Clusters) -> tuple[Clusters, NDArray[np.int32] | None]:
    """Give every spot the cluster of most spots around it, where ``cluster.refine_labels`` asks for it.

    Returns
    -------
    Clusters
        Named anew, largest first. A cluster that no spot has any more has a name behind the others.
    ndarray of int32, shape (n_cells,)
        The clusters before, by the new names; None where nothing was to be refined.
    """
    n_nearest = run.config.refined_by
    if not n_nearest:
        return found, None
    from scrcl.graph.domains import majority_labels
    from scrcl.io.stats import MatrixStats

    named = read_named(run.matrix, run.config).of(MatrixStats.load(run.stage("stats")).kept)
    assert named.coordinates is not None, "a setting without spatial is refused"
    labels = majority_labels(found.labels, named.coordinates, n_nearest, samples=named.samples)
    n_clusters = int(found.labels.max()) + 1
    sizes = np.bincount(labels, minlength=n_clusters)
    rank = np.empty(n_clusters, np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(n_clusters, dtype=np.int32)
    renamed = found._replace(labels=rank[labels], owners=rank[found.owners])
    return renamed, rank[found.labels]


def domain_facts(run: Run, labels: IntArray, before: IntArray | None) -> dict[str, Any]:
    """Return what the stage ``cluster`` records of domains: nothing where the run is not spatial."""
    if not run.config.spatial:
        return {}
    from scrcl.graph.domains import coherence

    ids = run.array("graph", "ids")
    facts = coherence(labels, ids)._asdict()
    if before is None:
        return {"coherence": facts}
    facts["unrefined"] = coherence(before, ids).share
    return {
        "coherence": facts,
        "n_clusters_unrefined": int(before.max()) + 1,
        "n_refined": int(np.count_nonzero(labels != before)),
    }


def coherence_text(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what the report says of the record of the stage ``cluster``: nothing where it is not spatial."""
    if "coherence" not in record:
        return {}
    found = record["coherence"]
    told = f"{found['share']:.1%} of neighbours in the tissue are of one cluster"
    said = {"coherence": f"{told}, {found['by_chance']:.1%} by chance"}
    if "n_refined" in record:
        moved = record["n_refined"] / max(record["n_cells"], 1)
        said["refined labels"] = (
            f"{moved:.1%} of the cells; before, {found['unrefined']:.1%} of neighbours"
        )
    return said


def missed_clusters(n_found: int, n_wanted: int, record: Mapping[str, Any]) -> str:
    """Say why there are fewer clusters than wanted; ``record`` has what `domain_facts` returned."""
    n_before = record.get("n_clusters_unrefined", n_found)
    why = "too few cells differ"
    if n_before > n_found:
        why = (
            f"{n_before - n_found} went into those around when labels were refined (obs scrcl_unrefined has "
            "them; a lower cluster.refine_labels keeps more)"
        )
        why += f", and {n_wanted - n_before} were not there before" if n_before < n_wanted else ""
    return f"{n_found} clusters were found and not {n_wanted}: {why}."


def coherence_of_run(out: Path, clusters: Any, labels: Any) -> dict[str, float]:
    """Return the coherence of clusters and labels of a run, one for each cell of its result.

    Returns
    -------
    dict
        ``coherence`` and ``label_coherence``, each with what chance gives (``..._by_chance``): of pairs of
        neighbours in the tissue whose labels are known. Empty where the run was not spatial, or its
        stages were deleted.

    Raises
    ------
    StoreError
        The neighbours are damaged, or not those of the result.
    """
    import pandas as pd

    from scrcl.engine.run_folder import read_manifest
    from scrcl.graph.domains import coherence

    path = out / "stages" / "graph" / "ids.npy"
    settings = read_manifest(out).get("settings", {})
    if not settings.get("spatial") or not path.exists():
        return {}
    try:
        ids = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        message = f"{path} must be whole; got {error}. Delete its folder and run the command again."
        raise StoreError(message) from error
    if len(ids) != len(clusters):
        message = (
            f"{path} must have the neighbours of {len(clusters)} cells; got {len(ids)}. "
            "Run the command again."
        )
        raise StoreError(message)
    said: dict[str, float] = {}
    for name, values in (("coherence", clusters), ("label_coherence", labels)):
        found = coherence(pd.factorize(pd.Series(np.asarray(values)))[0], ids)
        said |= {name: found.share, f"{name}_by_chance": found.by_chance}
    return said
