"""How well the clusters of a run agree with labels, as Python returns it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Scores"]


@dataclass(frozen=True, repr=False)
class Scores:
    """Agreement of the clusters of a run with labels.

    Attributes
    ----------
    labels
        Column of obs, or folder of the other run.
    acc, nmi, ari, macro_f1
        See `scrcl.engine.evaluate.score`.
    n_cells, n_clusters, n_labels
        Numbers of scored cells, their clusters and their labels.
    coherence, label_coherence, coherence_by_chance, label_coherence_by_chance
        Spatial runs only: share of neighbours in the tissue with the same cluster or label, and the
        share expected by chance; None for other runs.
    """

    labels: str
    acc: float
    nmi: float
    ari: float
    macro_f1: float
    n_cells: int
    n_clusters: int
    n_labels: int
    coherence: float | None = None
    coherence_by_chance: float | None = None
    label_coherence: float | None = None
    label_coherence_by_chance: float | None = None

    def __repr__(self) -> str:
        known = {name: value for name, value in vars(self).items() if value is not None}
        shown = (f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v!r}" for k, v in known.items())
        return f"Scores({', '.join(shown)})"
