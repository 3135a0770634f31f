"""What the correction for batches did, in words: notes and facts for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.engine.stages.correct import CorrectRecord, Mixing

__all__ = [
    "correction_facts",
    "correction_notes",
    "correction_overview",
    "correction_sentence",
    "joined_words",
]


def correction_notes(record: CorrectRecord) -> Iterator[str]:
    """Yield what the user should know about the correction."""
    from scrcl.prep.batch_effect import FEW_SHARED

    before = record.before
    if before is not None and before.shared <= FEW_SHARED and not record.centred:
        yield (
            f"Batches share few regions ({joined_words(before.shared)}). The "
            "correction joins what lies nearest. If the batches hold different cell types, run with "
            "--set correct.method=none and compare."
        )
    if record.centred:
        yield (
            "Slices lay so far apart that Harmony alone did not join them, so each was moved to the mean of all first. "
            "If slices hold other domains, or the same in other shares, compare with a run of each slice alone."
        )
    if record.n_corrected < record.n_batches:
        yield (
            f"{record.n_batches} batches were corrected as {record.n_corrected} groups: inside a group they mix well."
        )
    if record.share_alone:
        yield (
            f"{record.share_alone:.1%} of the cells have no counterpart in another batch. They were kept apart "
            "as types of their own."
        )


def joined_words(shared: float) -> str:
    """Return how many cells have other batches around them, for a sentence."""
    return f"{shared:.0%} of the cells outside of the largest batch have other batches around them"


def correction_overview(record: CorrectRecord) -> str:
    """Return what was done, in one line for the top of the report."""
    if record.left_as_is:
        return f"none: {record.reason}"
    return f"Harmony, {record.n_corrected} batches: {record.reason}{_after(record)}"


def correction_sentence(record: CorrectRecord) -> str:
    """Return what was done, as a note."""
    if record.left_as_is:
        return f"Not corrected for batches: {record.reason}."
    return f"Corrected for batches by Harmony: {record.reason}{_after(record)}."


def _after(record: CorrectRecord) -> str:
    return "" if record.after is None else f", {record.after.mixing:.2f} after it"


def correction_facts(record: CorrectRecord) -> dict[str, str]:
    """Return names and values for the technical details of the report."""
    if record.before is None:
        return {}
    facts = {"mixing of batches before (1: as by chance)": _mixing_text(record.before)}
    if record.after is not None:
        facts["mixing of batches after"] = _mixing_text(record.after)
        facts["cells without a counterpart in another batch"] = f"{record.share_alone:.1%}"
        facts["cells that Harmony was fitted on"] = f"{record.n_fitted:,}"
    return facts


def _mixing_text(mixing: Mixing) -> str:
    around = joined_words(mixing.shared)
    return f"{mixing.mixing:.2f} (± {mixing.error:.2f}); {around}"
