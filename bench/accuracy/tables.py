"""Cases as Markdown: by set, by method, without K, and against the choice of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.page import head
from bench.accuracy.cases import ORACLE, OURS, RARE, by_set, by_set_paired, spread

if TYPE_CHECKING:
    from bench.accuracy.cases import Case

__all__ = ["PUBLISHED", "tables"]

PUBLISHED = {
    "human_kidney_young_scdcc_top2000": (0.782, 0.797, 0.672),
    "mouse_bladder_mca_scdcc_top2000": (0.602, 0.730, 0.456),
    "pbmc4k_10x_scdcc_top2000": (0.734, 0.747, 0.681),
    "worm_neuron_scdeepcluster": (0.726, 0.755, 0.585),
}
"""ACC, NMI and ARI of scGPCL, Bioinformatics 39(6) btad342."""


def tables(cases: list[Case]) -> list[str]:
    """Return all tables; sets with coordinates have tables of their own."""
    lines = []
    for spatial in (False, True):
        chosen = [case for case in cases if case.spatial is spatial]
        if not chosen:
            continue
        lines += ["", "### Spatial sets" if spatial else "### Sets without coordinates", ""]
        honest = [case for case in chosen if case.method != ORACLE]
        if honest:
            lines += [*_sets(honest), "", *_methods(honest)]
        lines += [*_by_algorithm(chosen), *_without_k(chosen), *_oracle(chosen)]
    return lines


def _names(cases: list[Case]) -> tuple[list[str], list[str]]:
    """Return the sets by name, and the methods in the order of the cases."""
    methods = list(dict.fromkeys(case.method for case in cases))
    return sorted({case.dataset for case in cases}), methods


def _sets(cases: list[Case]) -> list[str]:
    """Return a row for each set: ACC, NMI and ARI of each method, with the deviation of ARI over seeds."""
    datasets, methods = _names(cases)
    published = any(name in PUBLISHED for name in datasets)
    scored = [f"{method}: ACC / NMI / **ARI**" for method in methods]
    if published:
        scored.append("scGPCL: as published (epoch and k by its own protocol)")
    lines = head("set", "cells", "K", *scored)
    for name in datasets:
        rows = [case for case in cases if case.dataset == name]
        shown = [_scores([row for row in rows if row.method == method]) for method in methods]
        if published:
            acc, nmi, ari = PUBLISHED.get(name, (None, None, None))
            shown.append("" if ari is None else f"{acc:.3f} / {nmi:.3f} / {ari:.3f}")
        lines.append(f"| {name} | {rows[0].n_cells} | {rows[0].k} | {' | '.join(shown)} |")
    return lines


def _scores(cases: list[Case]) -> str:
    if not cases:
        return ""
    acc, nmi, ari = (np.array([getattr(c, name) for c in cases]) for name in ("acc", "nmi", "ari"))
    missed = sum(case.n_clusters != case.k for case in cases)
    note = f" (K missed in {missed})" if missed else ""
    return f"{acc.mean():.3f} / {nmi.mean():.3f} / **{ari.mean():.3f} ± {ari.std():.3f}**{note}"


def _methods(cases: list[Case]) -> list[str]:
    """Return a row for each method: means over sets, rare types, seconds and memory."""
    rare = [f"types under {percent} % found" for percent in RARE]
    columns = ["method, means over sets", "sets", "seeds", "ACC", "NMI", "**ARI**", "macro F1"]
    lines = head(*columns, "spread of ARI over seeds", *rare, "K missed", "s", "MB")
    for method in _names(cases)[1]:
        own = [case for case in cases if case.method == method]
        acc, nmi, ari, f1 = (
            float(np.mean(list(by_set(own, method, name).values())))
            for name in ("acc", "nmi", "ari", "macro_f1")
        )
        shown = [f"{len(_names(own)[0])}", _seeds(own)]
        shown += [f"{acc:.3f}", f"{nmi:.3f}", f"**{ari:.3f}**", f"{f1:.3f}"]
        shown += [f"{spread(own, method):.3f}", *(_rare(own, i) for i in range(len(RARE)))]
        shown.append(f"{sum(case.n_clusters != case.k for case in own)} of {len(own)}")
        shown.append(f"{np.median([case.seconds for case in own]):.0f}")
        shown.append(f"{max(case.peak_rss_bytes for case in own) / 1e6:.0f}")
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return lines


def _seeds(cases: list[Case]) -> str:
    """Return the seeds as text; those that only some sets have are listed apart."""
    all_sets = [{case.seed for case in cases if case.dataset == name} for name in _names(cases)[0]]
    shared = set.intersection(*all_sets)
    more = sorted(set.union(*all_sets) - shared)
    text = ", ".join(map(str, sorted(shared)))
    return text + (f" (some sets: {', '.join(map(str, more))})" if more else "")


def _rare(cases: list[Case], bound: int) -> str:
    """Return the share of rare types that were found over all sets and seeds, and the number of types."""
    types, found = (
        sum(case.rare[bound] for case in cases),
        sum(case.rare_found[bound] for case in cases),
    )
    distinct = sum({case.dataset: case.rare[bound] for case in cases}.values())
    return f"{found / types:.2f} of {distinct}" if types else "none there"


def _by_algorithm(cases: list[Case]) -> list[str]:
    """Return a row for each set: ACC, NMI and ARI of other final clusterings of the same embeddings."""
    own = [case for case in cases if case.by_algorithm]
    if not own:
        return []
    algorithms = list(own[0].by_algorithm)
    lines = [
        "",
        f"{OURS} at K by other final clusterings of the same embeddings (ACC / NMI / ARI):",
    ]
    lines += ["", *head("set", *algorithms)]
    means = []
    for name in _names(own)[0]:
        rows = [case.by_algorithm for case in own if case.dataset == name]
        means.append([np.mean([row[each] for row in rows], axis=0) for each in algorithms])
        lines.append(f"| {name} | {' | '.join(map(_triple, means[-1]))} |")
    shown = " | ".join(map(_triple, np.mean(means, axis=0)))
    return [*lines, f"| **mean over sets** | {shown} |"]


def _triple(scores: Any) -> str:
    return " / ".join(f"{value:.3f}" for value in scores)


def _without_k(cases: list[Case]) -> list[str]:
    """Return a row for each set: clusters found without K, and ARI with and without it."""
    own = [case for case in cases if case.method == OURS]
    if not own:
        return []
    lines = ["", f"{OURS} without K (`--n-clusters auto`):", ""]
    lines += head("set", "K", "K found", "relative error", "ARI at K", "ARI at auto K")
    errors: list[float] = []
    for name in _names(own)[0]:
        rows = [case for case in own if case.dataset == name]
        found = [case.auto_clusters or 0 for case in rows]
        errors.append(float(np.mean([abs(n - rows[0].k) / rows[0].k for n in found])))
        ari, auto = (by_set(rows, OURS, field)[name] for field in ("ari", "auto_ari"))
        span = "-".join(map(str, sorted({min(found), max(found)})))
        shown = f"{rows[0].k} | {span} | {errors[-1]:.0%} | {ari:.3f} | {auto:.3f}"
        lines.append(f"| {name} | {shown} |")
    ari, auto = (
        float(np.mean(list(by_set(own, OURS, field).values()))) for field in ("ari", "auto_ari")
    )
    mean = f"| | {np.mean(errors):.0%} | **{ari:.3f}** | **{auto:.3f}** |"
    return [*lines, f"| **mean over sets** {mean}"]


def _oracle(cases: list[Case]) -> list[str]:
    """Return a row for each set: the run without labels, and the best training step by labels."""
    if not any(case.method == ORACLE for case in cases):
        return []
    honest, paired = by_set_paired(cases, OURS, ORACLE)
    lines = [
        "",
        (
            "Oracle: the training step that agrees best with the labels, against runs of the same seeds that use no "
            "labels. Not a result of scrcl:"
        ),
        "",
    ]
    lines += head("set", "ARI without labels", "ARI by labels", "steps")
    best = by_set(cases, ORACLE)
    for name, ari in best.items():
        steps = [c.step or 0 for c in cases if c.method == ORACLE and c.dataset == name]
        span = "-".join(map(str, sorted({min(steps), max(steps)})))
        own = f"{honest[name]:.3f}" if name in honest else ""
        lines.append(f"| {name} | {own} | {ari:.3f} | {span} |")
    if honest:
        means = [float(np.mean(list(side.values()))) for side in (honest, paired)]
        lines.append(f"| **mean over sets** | **{means[0]:.3f}** | **{means[1]:.3f}** | |")
    return lines
