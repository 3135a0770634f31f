"""The verdict on the cases: a line for each question whose cases are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.accuracy.cases import ORACLE, OURS, by_set, by_set_paired, spread
from bench.accuracy.tables import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.accuracy.cases import Case

__all__ = ["verdict"]

REFERENCE = "pca_leiden"


def verdict(cases: list[Case]) -> list[str]:
    """Return the lines, apart for sets with coordinates; none where scrcl has no case."""
    lines = []
    for spatial in (False, True):
        chosen = [case for case in cases if case.spatial is spatial]
        if not any(case.method == OURS for case in chosen):
            continue
        answers = [
            question(chosen)
            for question in (_best_peer, _reference, _spread, _published, _oracle, _auto)
        ]
        kind = "Spatial sets" if spatial else "Sets without coordinates"
        lines += [f"{kind}:", "", *(f"- {line}" for line in answers if line), ""]
    return ["", "### Verdict", "", *lines[:-1]] if lines else []


def _best_peer(cases: list[Case]) -> str | None:
    ours, best = by_set(cases, OURS), _best(cases)
    if best is None:
        return None
    theirs = by_set(cases, best)
    mean, other = _mean(ours.values()), _mean(theirs[name] for name in ours)
    return (
        f"mean ARI of scrcl above that of every peer - {mean:.3f} against {other:.3f} ({best}), "
        f"margin {mean - other:+.3f} over {_sets(len(ours))}"
    )


def _best(cases: list[Case]) -> str | None:
    """Return the peer with the best mean ARI on the sets of scrcl, of those that have run on all of them."""
    ours = by_set(cases, OURS)
    means = {}
    for method in dict.fromkeys(case.method for case in cases):
        theirs = by_set(cases, method)
        if method not in (OURS, ORACLE) and ours.keys() <= theirs.keys():
            means[method] = _mean(theirs[name] for name in ours)
    return max(means, key=lambda method: means[method]) if means else None


def _reference(cases: list[Case]) -> str | None:
    ours, theirs = by_set_paired(cases, OURS, REFERENCE)
    if not ours:
        return None
    above = sum(ours[name] > theirs[name] for name in ours)
    return (
        f"scrcl above {REFERENCE} at K on every set - on {above} of {len(ours)}, "
        f"worst difference {_worst(ours, theirs)}"
    )


def _spread(cases: list[Case]) -> str | None:
    if len({case.seed for case in cases if case.method == OURS}) < 2:
        return None
    line = f"spread of ARI over seeds (deviation, mean over sets) - scrcl {spread(cases, OURS):.3f}"
    best = _best(cases)
    return line if best is None else f"{line}, {best} {spread(cases, best):.3f}"


def _published(cases: list[Case]) -> str | None:
    ours = {name: ari for name, ari in by_set(cases, OURS).items() if name in PUBLISHED}
    if not ours:
        return None
    shown = [f"{name} {ari:.3f} ({PUBLISHED[name][2]:.3f})" for name, ari in ours.items()]
    above = sum(ari > PUBLISHED[name][2] for name, ari in ours.items())
    mean, other = _mean(ours.values()), _mean(PUBLISHED[name][2] for name in ours)
    return (
        f"ARI of scrcl above scGPCL's, as published, on its sets - on {above} of {len(ours)}: "
        f"{', '.join(shown)}; mean {mean:.3f} ({other:.3f})"
    )


def _oracle(cases: list[Case]) -> str | None:
    ours, best = by_set_paired(cases, OURS, ORACLE)
    if not ours:
        return None
    mean, other = _mean(ours.values()), _mean(best.values())
    return (
        f"cost of using no labels - {mean:.3f} against {other:.3f} at the best step by "
        f"labels, {mean - other:+.3f}; worst {_worst(ours, best)}"
    )


def _auto(cases: list[Case]) -> str:
    own = [case for case in cases if case.method == OURS]
    errors = {
        name: _mean(
            abs((case.auto_clusters or 0) - case.k) / case.k for case in own if case.dataset == name
        )
        for name in by_set(own, OURS)
    }
    ari, auto = (_mean(by_set(own, OURS, field).values()) for field in ("ari", "auto_ari"))
    return (
        f"number of clusters without K - mean relative error {_mean(errors.values()):.0%}, "
        f"ARI {auto:.3f} against {ari:.3f} at K: {auto - ari:+.3f}"
    )


def _worst(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """Return by how much, and on which set, the first is furthest below the second."""
    name = min(ours, key=lambda name: ours[name] - theirs[name])
    return f"{ours[name] - theirs[name]:+.3f} ({name})"


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _sets(n: int) -> str:
    return "1 set" if n == 1 else f"{n} sets"
