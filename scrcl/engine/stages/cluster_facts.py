"""Facts about the clusters for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.cluster.artifacts import CLUSTER_TREE, LABELS
from scrcl.cluster.confidence import LOW_CONFIDENCE, low_clusters
from scrcl.engine.given_names import shown_names
from scrcl.report.page import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.cluster.levels import Split
    from scrcl.engine.outputs import Outputs
    from scrcl.engine.stages.cluster import ClusterRecord, ExtraCut, LevelsRecord
    from scrcl.engine.words import Words

__all__ = [
    "cluster_overview",
    "estimate_notes",
    "estimates_in_words",
    "estimates_range",
    "low_confidence_notes",
    "tree_figures",
]

_NAMED = 12
"""Clusters of low confidence that the note names."""


def cluster_overview(record: ClusterRecord, words: Words) -> dict[str, str]:
    """Return names and values for the top of the report."""
    n, coherence = max(record.n_cells or 0, 1), record.coherence
    n_low = record.confidence.n_low
    facts = {f"{words.cluster}s": f"{record.n_clusters} ({record.chosen_by}, {_algorithm(record)})"}
    if record.estimates:
        facts["estimates of the number"] = estimates_in_words(record.estimates)
    if record.levels is not None:
        facts |= _level_facts(record.levels, words)
    if record.extra_cuts:
        facts["extra cuts"] = ", ".join(map(_cut, record.extra_cuts))
    facts["confidence (median)"] = f"{record.confidence.p50:.2f}"
    facts[f"{words.cell}s of low confidence (below {LOW_CONFIDENCE})"] = (
        f"{n_low:,} ({n_low / n:.1%})"
    )
    if coherence is not None:
        share, chance = coherence["share"], coherence["by_chance"]
        facts["coherence"] = (
            f"{share:.1%} of neighbours in the tissue are in the same {words.cluster}, {chance:.1%} by chance"
        )
    if record.n_smoothed is not None and coherence is not None:
        facts["smoothed labels"] = (
            f"{record.n_smoothed / n:.1%} of the {words.cell}s changed their {words.cluster}; before, "
            f"{coherence['before_smoothing']:.1%} of neighbours were in the same {words.cluster}"
        )
    return facts


def tree_figures(run: Outputs, words: Words) -> list[Figure]:
    """Return how the clusters join, with their names; nothing for one cluster."""
    from scrcl.report.figures import merge_lines

    tree = run.open(CLUSTER_TREE)
    if not len(tree):
        return []
    names = shown_names(run, run.open(LABELS))
    # Smoothed labels may have fewer clusters than the tree has leaves.
    names += [str(i) for i in range(len(names), len(tree) + 1)]
    caption = f"How {words.cluster}s join: the lower two branches meet, the more alike they are."
    return [Figure(merge_lines(tree, names), caption, "svg")]


def estimates_in_words(estimates: Sequence[Sequence[int]]) -> str:
    """Return the estimates of the number of domains: "three estimates: 4, 5, 7", or those of each slice."""
    of_slices = "; ".join(", ".join(map(str, three)) for three in estimates)
    each = "three estimates" if len(estimates) == 1 else "three estimates for each slice"
    return f"{each}: {of_slices}"


def estimates_range(estimates: Sequence[Sequence[int]]) -> str:
    """Return the smallest and the largest estimate in words."""
    numbers = [number for three in estimates for number in three]
    least, most = min(numbers), max(numbers)
    if least == most:
        return f"all estimates are {least}"
    return f"estimates range from {least} to {most}"


def estimate_notes(estimates: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield that a number of domains is a rough one, if it was estimated."""
    if estimates:
        yield (
            f"The number of domains is a rough one ({estimates_range(estimates)}). Where you know it, give it by "
            "`n_clusters`."
        )


def low_confidence_notes(medians: Sequence[float], words: Words) -> Iterator[str]:
    """Yield which clusters have a low confidence, by the median of each."""
    names = [words.name(cluster) for cluster in low_clusters(medians)]
    if not names:
        return
    one, several = words.cluster.capitalize(), f"{words.cluster}s".capitalize()
    which = f"{one} {names[0]} has" if len(names) == 1 else f"{several} {', '.join(names)} have"
    if len(names) > _NAMED:
        n_others = len(names) - _NAMED
        which = f"{several} {', '.join(names[:_NAMED])} and {n_others:,} others have"
    yield (
        f"{which} a low confidence: most {words.cell}s there are below {LOW_CONFIDENCE}. Look at the markers. Small "
        f"{words.cluster}s score low even where they are right."
    )


def _level_facts(levels: LevelsRecord, words: Words) -> dict[str, str]:
    """Return what one would get one step up and one step down."""
    facts = {"levels (coarse, fine)": f"{levels.n_coarse} and {levels.n_fine} {words.cluster}s"}
    merge, split = levels.next_merge, levels.next_split
    if merge is not None:
        a, b = merge.clusters
        facts["the next merge would be"] = f"{words.cluster}s {a} and {b} ({_support(merge)})"
    if split is not None:
        n_a, n_b = split.cells
        parts = f"into {n_a:,} and {n_b:,} {words.cell}s"
        facts["the next split would be"] = (
            f"{words.cluster} {split.clusters[0]} {parts} ({_support(split)})"
        )
    return facts


def _support(split: Split) -> str:
    if split.support < 0:
        return "too few cells to test"
    return f"support {split.support:.2f}, where 1 is no cell between them"


def _cut(cut: ExtraCut) -> str:
    asked = "" if cut.found == cut.asked else f" of {cut.asked} asked for"
    return f"{cut.found}{asked}{'' if cut.nested else ' (not nested)'}"


def _algorithm(record: ClusterRecord) -> str:
    choice = record.choice
    if choice is None:
        return record.algorithm
    if choice.agreement is None:
        return choice.algorithm
    why = f"agreement {choice.agreement:.2f}"
    if choice.reason is not None:
        why += f", but {choice.reason}"
    return f"{choice.algorithm}, {why}"
