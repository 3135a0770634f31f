"""How coherent the clusters of a tissue are, and its labels: for the report, and of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["coherence_of_run", "coherence_text"]


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


def coherence_of_run(out: Path, clusters: Any, labels: Any) -> dict[str, float | None]:
    """Return the coherence of clusters and labels of a run, one for each cell of its result.

    Returns
    -------
    dict
        ``coherence`` and ``label_coherence``, each with what chance gives (``..._by_chance``): of pairs of
        neighbours in the tissue whose labels are known, None where there is none. Empty where the run was
        not spatial, or its stages were deleted.

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
    said: dict[str, float | None] = {}
    for name, values in (("coherence", clusters), ("label_coherence", labels)):
        found = coherence(pd.factorize(pd.Series(np.asarray(values)))[0], ids)
        share = None if np.isnan(found.share) else found.share
        said |= {name: share, f"{name}_by_chance": found.by_chance}
    return said
