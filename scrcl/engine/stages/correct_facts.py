"""What the correction for batches did, in words: notes and facts for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.engine.stages.correct import CorrectRecord, Mixing
    from scrcl.engine.words import Words

__all__ = [
    "correction_facts",
    "correction_notes",
    "correction_overview",
    "correction_sentence",
    "joined_words",
]


def correction_notes(record: CorrectRecord, words: Words) -> Iterator[str]:
    """Yield what the user should know about the correction."""
    from scrcl.prep.batch_effect import FEW_SHARED

    batches, before = words.batches, record.before
    if before is not None and before.shared <= FEW_SHARED and not record.centred:
        yield (
            f"{batches.capitalize()} share few regions ({joined_words(before.shared, words)}). The correction joins "
            f"what lies nearest. If the {batches} hold different {words.cell} types, run with "
            '`correct.method="none"` and compare.'
        )
    if record.centred:
        yield (
            "Slices lay so far apart that Harmony alone did not join them, so each was moved to the mean of all first. "
            "If slices hold other domains, or the same in other shares, compare with a run of each slice alone."
        )
    if record.n_corrected < record.n_batches:
        yield (
            f"{record.n_batches} {batches} were corrected as {record.n_corrected} groups: inside a group they mix "
            "well."
        )
    if record.share_alone:
        yield (
            f"{record.share_alone:.1%} of the {words.cell}s have no counterpart in another {words.batch}. They were "
            f"kept apart as {words.kind}s of their own."
        )


def joined_words(shared: float, words: Words) -> str:
    """Return how many cells have other batches around them, for a sentence."""
    outside = f"{shared:.0%} of the {words.cell}s outside of the largest {words.batch}"
    return f"{outside} have other {words.batches} around them"


def correction_overview(record: CorrectRecord, words: Words) -> str:
    """Return what was done, in one line for the top of the report."""
    if record.left_as_is:
        return f"none: {record.reason}"
    return f"Harmony, {record.n_corrected} {words.batches}: {record.reason}"


def correction_sentence(record: CorrectRecord, words: Words) -> str:
    """Return what was done, as a note, with how batches mixed before and after."""
    if record.left_as_is:
        return f"Not corrected for {words.batches}: {record.reason}."
    done = f"Corrected for {words.batches} by Harmony: {record.reason}."
    if record.before is None or record.after is None:
        return done
    return (
        f"{done} Before it, {words.cell}s had {record.before.mixing:.0%} of the neighbours from other "
        f"{words.batches} that chance gives; after it, {record.after.mixing:.0%}."
    )


def correction_facts(record: CorrectRecord, words: Words) -> dict[str, str]:
    """Return names and values for the technical details of the report."""
    if record.before is None:
        return {}
    batches = words.batches
    facts = {f"mixing of {batches} before (1: as by chance)": _mixing_text(record.before, words)}
    if record.after is not None:
        facts[f"mixing of {batches} after"] = _mixing_text(record.after, words)
        facts[f"{words.cell}s without a counterpart in another {words.batch}"] = (
            f"{record.share_alone:.1%}"
        )
        facts[f"{words.cell}s that Harmony was fitted on"] = f"{record.n_fitted:,}"
    return facts


def _mixing_text(mixing: Mixing, words: Words) -> str:
    around = joined_words(mixing.shared, words)
    return f"{mixing.mixing:.2f} (± {mixing.error:.2f}); {around}"
