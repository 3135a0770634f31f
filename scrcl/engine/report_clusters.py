"""What the report says of the clusters: how they were found, how sure they are, and how far they follow batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl.cluster.confidence import UNSURE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["batch_facts", "cluster_facts"]


def cluster_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Return names and values of what the stage ``cluster`` recorded."""
    sure = record["confidence"]
    also = [_cut(one) for one in record["also"]]
    return {
        "clusters": f"{record['n_clusters']} ({record['chosen_by']}, {_method(record)})",
        **({"clusters of other cuts": ", ".join(also)} if also else {}),
        "confidence (median)": f"{sure['p50']:.2f}",
        f"cells of a confidence below {UNSURE}": f"{sure['n_unsure']:,} ({sure['n_unsure'] / record['n_cells']:.1%})",
    }


def batch_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Return how far the clusters follow the batches; nothing where none were named."""
    if "batches" not in record:
        return {}
    found = record["batches"]
    graph, near = found["graph"], found["embedding"]
    return {
        "batches": f"{found['n_batches']:,}",
        "clusters against batches": f"NMI {found['nmi']:.3f}, ARI {found['ari']:.3f}",
        "entropy of batches (1: equal numbers)": f"{found['entropy_of_all']:.2f} of all cells",
        "neighbours of another batch, in the graph": _across(graph),
        "the same in the embedding": _across(near),
        "effective batches around a cell, in the graph": _effective(graph),
        "the same in the embedding, too": _effective(near),
    }


def _cut(cut: Mapping[str, Any]) -> str:
    asked = "" if cut["found"] == cut["asked"] else f" of {cut['asked']} asked"
    return f"{cut['found']}{asked}{'' if cut['nested'] else ' (not nested)'}"


def _method(record: Mapping[str, Any]) -> str:
    if "choice" not in record:
        return str(record["method"])
    choice = record["choice"]
    if choice["agreement"] is None:
        return str(choice["taken"])
    why = f"agreement {choice['agreement']:.2f}"
    if choice.get("unless") is not None:
        why += f", but {choice['unless']}"
    return f"{choice['taken']}, {why}"


def _across(found: Mapping[str, float]) -> str:
    return f"{found['across']:.1%} ({found['across_expected']:.1%} at random)"


def _effective(found: Mapping[str, float]) -> str:
    return f"{found['effective_batches']:.2f} ({found['effective_expected']:.2f} of all cells)"
