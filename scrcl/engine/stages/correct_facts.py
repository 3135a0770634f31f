"""What the correction for batches did, in words: notes and facts for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.engine.words import listed, of_groups
from scrcl.prep.batch_effect import FEW_SHARED

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

_NAMED_GROUPS = 4
"""Groups of batches that a note lists."""


def correction_notes(record: CorrectRecord, words: Words) -> Iterator[str]:
    """Yield what the user should know about the correction."""
    if record.by_group:
        yield _groups_note(record, words)
    of_batch = f"group of {words.batches}" if record.by_group else words.batch
    words = of_groups(words) if record.by_group else words
    before = record.before
    if before is not None and before.shared <= FEW_SHARED and not record.centred:
        yield _few_regions_note(record, words, before.shared)
    if record.centred and record.agreement is None:
        yield (
            "Slices lay so far apart that Harmony alone did not join them, so each was moved to the mean of all first. "
            "If slices hold other domains, or the same in other shares, compare with a run of each slice alone."
        )
    elif record.centred:
        yield (
            f"{words.batches.capitalize()} lay so far apart that Harmony alone did not join them. Clusters inside one "
            f"{words.batch} lie to each other as those of others do, so each {words.batch} was shifted as a whole "
            f"first. If {words.batches} hold different {words.cell} types, run with "
            '`correct.method="none"` and compare.'
        )
    if record.share_alone:
        yield (
            f"{record.share_alone:.1%} of the {words.cell}s have no counterpart in another {of_batch}. They were "
            f"kept apart as {words.kind}s of their own."
        )


def _few_regions_note(record: CorrectRecord, words: Words, shared: float) -> str:
    """Return that the correction may join what is not alike."""
    batches = words.batches
    who, hold = f"{batches.capitalize()} share few regions", f"the {batches} hold different"
    if record.one is not None:
        who = f"{words.batch.capitalize()} {record.one!r} shares few regions with the others"
        hold = "it holds other"
    return (
        f"{who} ({joined_words(shared, words, one=record.one is not None)}). The correction joins what lies nearest. "
        f'If {hold} {words.cell} types, run with `correct.method="none"` and compare.'
    )


def _groups_note(record: CorrectRecord, words: Words) -> str:
    """Return which batches were corrected as one."""
    named = [f"group {i}: {listed(names)}" for i, names in enumerate(record.groups, start=1)]
    where = "" if len(named) <= _NAMED_GROUPS else "; for all see stages/correct/batches.json"
    return (
        f"{record.n_batches:,} {words.batches} were corrected as {record.n_corrected:,} groups, since {words.batches} "
        f"inside a group mix well ({'; '.join(named[:_NAMED_GROUPS])}{where})."
    )


def joined_words(shared: float, words: Words, *, one: bool = False) -> str:
    """Return how many cells have other batches around them, for a sentence; of ``one`` batch, if that was asked."""
    outside = f"{shared:.0%} of the {words.cell}s outside of the largest {words.batch}"
    if one:
        outside = f"{shared:.0%} of its {words.cell}s"
    return f"{outside} have other {words.batches} around them"


def correction_overview(record: CorrectRecord, words: Words) -> str:
    """Return what was done, in one line for the top of the report."""
    if record.left_as_is:
        return f"none: {record.reason}"
    return f"Harmony, {_corrected(record, words)}: {record.reason}"


def _corrected(record: CorrectRecord, words: Words) -> str:
    """Return what was corrected, with numbers."""
    if record.by_group:
        return f"{record.n_corrected:,} groups of {record.n_batches:,} {words.batches}"
    return f"{record.n_corrected:,} {words.batches}"


def correction_sentence(record: CorrectRecord, words: Words) -> str:
    """Return what was done, as a note, with how batches mixed before and after."""
    if record.left_as_is:
        return f"Not corrected for {words.batches}: {record.reason}."
    what = _corrected(record, words) if record.by_group else words.batches
    done = f"Corrected for {what} by Harmony: {record.reason}."
    words = of_groups(words) if record.by_group else words
    if record.before is None or record.after is None:
        return done
    cells = f"{words.cell}s" if record.one is None else f"its {words.cell}s"
    return (
        f"{done} Before it, {cells} had {record.before.mixing:.0%} of the neighbours from other "
        f"{words.batches} that chance gives; after it, {record.after.mixing:.0%}."
    )


def correction_facts(record: CorrectRecord, words: Words) -> dict[str, str]:
    """Return names and values for the technical details of the report."""
    if record.before is None:
        return {}
    batches = f"groups of {words.batches}" if record.by_group else words.batches
    words, one = of_groups(words) if record.by_group else words, record.one is not None
    if one:
        batches = f"{words.batch} {record.one!r}"
    before = _mixing_text(record.before, words, one=one)
    facts = {f"mixing of {batches} before (1: as by chance)": before}
    if record.after is not None:
        facts[f"mixing of {batches} after"] = _mixing_text(record.after, words, one=one)
        facts[f"{words.cell}s without a counterpart in another {words.batch}"] = (
            f"{record.share_alone:.1%}"
        )
        facts[f"{words.cell}s that Harmony was fitted on"] = f"{record.n_fitted:,}"
    return facts


def _mixing_text(mixing: Mixing, words: Words, *, one: bool) -> str:
    around = joined_words(mixing.shared, words, one=one)
    return f"{mixing.mixing:.2f} (± {mixing.error:.2f}); {around}"
