"""Stage ``correct``: component scores without the differences between batches, if there are any."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from scrcl._atomic import write_json
from scrcl._contract import Artifact, Estimate
from scrcl._settings import Settings
from scrcl.engine.memory import LIBRARIES_BYTES, POSITION_BYTES
from scrcl.engine.stage import Fields, Record, Stage
from scrcl.engine.stages.batches_apart import TestedCells, batch_codes, correction_method
from scrcl.engine.stages.correct_facts import (
    correction_facts,
    correction_notes,
    correction_overview,
    joined_words,
)
from scrcl.engine.stages.correct_fit import FIT_CELLS, correct_cells
from scrcl.engine.words import of_groups, words_in, words_of
from scrcl.io.arrays import SMALL_MAP_BYTES
from scrcl.prep.artifacts import COMPONENTS, STATS
from scrcl.prep.batch_effect import FEW_SHARED, MIXED
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.correct_new_cells import NewCorrectStage
    from scrcl.engine.words import Words
    from scrcl.prep.batch_effect import Apart, BatchEffect
    from scrcl.prep.correction import Correction

__all__ = [
    "CORRECTED_BATCHES",
    "CORRECTION",
    "CorrectRecord",
    "CorrectSettings",
    "CorrectStage",
    "Mixing",
    "correction_bytes",
    "fit_bytes",
    "group_members",
]

_FIT_BYTES, _FIT_BYTES_PER_COMP = 1_800, 36
"""For each cell that Harmony is fitted on: its shares of 100 clusters, and copies of its components; measured
(``bench.batches.million``)."""


def _load_correction(folder: Path) -> Correction:
    from scrcl.prep.correction import Correction

    return Correction.load(folder / "correction.npz")


CORRECTION: Artifact[Correction] = Artifact("correction of batches", _load_correction)
"""What Harmony found: by how much each batch lies apart, in each region."""

CORRECTED_BATCHES: Artifact[dict[str, int]] = Artifact(
    "batches that were corrected",
    lambda folder: dict(json.loads((folder / "batches.json").read_text(encoding="utf-8"))),
)
"""The number of each batch in the correction, by its name."""


class CorrectSettings(Settings):
    """The correction for batches."""

    method: Literal["auto", "harmony", "none"] = Field(
        "auto",
        description="How components are corrected for the batches of batch_key: by Harmony if neighbours show that "
        "batches keep apart (auto), by Harmony in any case (harmony), or not at all (none; batches then only select "
        "genes).",
    )

    def asks_for_batches(self) -> str:
        """Return that Harmony in any case needs batches."""
        return "correct.method = harmony" if self.method == "harmony" else ""


class Mixing(Fields):
    """How well batches mix, against chance (1), and the share of cells that have other batches around them.

    The cells of the largest batch are not counted in this share.
    """

    mixing: float
    error: float
    shared: float

    @classmethod
    def of(cls, effect: BatchEffect) -> Mixing:
        """Return what was measured, for a record."""
        return cls(mixing=effect.mixing, error=effect.error, shared=effect.shared)


class CorrectRecord(Record):
    """Whether batches keep apart, and what was done.

    Attributes
    ----------
    reason
        Why components were corrected, or left as they are, in one line.
    n_batches, n_corrected
        Batches with cells, and how many the correction distinguishes: batches that mix well count as one.
    groups
        The batches of each group, where they were corrected as groups.
    one
        The batch that keeps apart from all others, where the batches as a whole mix.
    before, after
        Mixing on a subset of the cells: of groups where these were corrected, of the cells of ``one`` if it is given;
        None if it was not measured.
    share_alone
        Share of cells of types that one batch alone has. They are shifted with their batch, and never joined to others.
    n_fitted
        Cells that Harmony was fitted on; fewer than all if the atlas is large.
    centred
        Whether batches were shifted as a whole before, because Harmony alone did not join them: slices to one mean.
    agreement
        How alike the clusters of batches that were shifted lie, at most 1; None for slices.
    as_in_run
        In a closer look: corrected in the soft clusters of the run, and not by a fit on these cells.
    """

    reason: str
    n_batches: int = 1
    n_corrected: int = 0
    groups: tuple[tuple[str, ...], ...] = ()
    one: str | None = None
    before: Mixing | None = None
    after: Mixing | None = None
    share_alone: float = 0.0
    n_fitted: int = 0
    n_rounds: int = 0
    centred: bool = False
    agreement: float | None = None
    as_in_run: bool = False

    @property
    def by_group(self) -> bool:
        """Whether groups of batches were corrected, and not single batches."""
        return 0 < self.n_corrected < self.n_batches


class CorrectStage(Stage[CorrectRecord]):
    """Tests whether batches keep apart, and corrects the component scores by Harmony if they do."""

    name = "correct"
    settings = CorrectSettings
    record = CorrectRecord
    gives = (COMPONENTS, CORRECTION, CORRECTED_BATCHES)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return Harmony on its subset, and one pass over the cells for each sum and each result."""
        if shape.n_batches < 2 or correction_method(config) == "none":
            return Estimate(LIBRARIES_BYTES)
        n, d = shape.n_cells, shape.n_comps
        fitted, streamed = min(n, FIT_CELLS), n > FIT_CELLS
        return Estimate(
            LIBRARIES_BYTES + (8 + POSITION_BYTES * streamed) * n + min(4 * n * d, SMALL_MAP_BYTES),
            fit_bytes(fitted, d) + correction_bytes(shape.n_batches, d),
            disk_bytes=4 * n * d,
            read_bytes=8 * n * d,
            # Measured (``bench.batches.million``). Slices may need a second fit, and other batches seldom do.
            seconds=2.5
            + (4e-5 + 4.5e-7 * d) * fitted * (2 if config.spatial else 1)
            + (3.5e-6 + 8e-8 * d + 3.5e-8 * shape.n_batches) * n * streamed,
        )

    def run(self, context: Context, folder: Path) -> CorrectRecord:
        """Write ``scores.npy`` and ``correction.npz``; nothing where nothing is corrected."""
        batches, method = context.covariates.batches, correction_method(context.config)
        if batches is None:
            return CorrectRecord(left_as_is=True, reason="no batches were named")
        words = words_in(context)
        batches = batches.of(context.open(STATS).retained)
        codes, n_batches = batch_codes(batches)
        plain = CorrectRecord(left_as_is=True, reason="", n_batches=n_batches)
        if method == "none":
            return plain.model_copy(update={"reason": "as set"})
        if n_batches == 1:
            key = context.config.batch_key
            why = f"all {words.cell}s have one value of {key!r}: there is nothing to correct"
            return plain.model_copy(
                update={"reason": why, "notes": (f"{why[0].upper()}{why[1:]}.",)}
            )
        points = context.open(COMPONENTS)
        test = TestedCells.of(points, codes, context.config)
        codes, apart = test.batches_to_correct(codes)
        record = plain.model_copy(update={"before": Mixing.of(apart.effect)})
        if method == "auto" and not apart.differ:
            return record.model_copy(update={"reason": _why_not(apart.effect, words)})
        update = correct_cells(context, points, codes, folder)
        # Cells of a batch have one number, so its first cell is enough.
        present, first = np.unique(batches.codes, return_index=True)
        names = [batches.names[number] for number in present]
        numbers = {name: int(codes[at]) for name, at in zip(names, first, strict=True)}
        write_json(folder / "batches.json", numbers)
        after = test.effect(np.load(folder / "scores.npy", mmap_mode="r"), codes, apart.one)
        record = record.model_copy(
            update={
                "n_cells": len(points),
                "left_as_is": False,
                "reason": _why(apart, words, names),
                "groups": group_members(numbers) if apart.by_group else (),
                "one": None if apart.one is None else names[apart.one],
                "after": Mixing.of(after),
                **update,
            }
        )
        return record.model_copy(update={"notes": tuple(correction_notes(record, words))})

    def section(self, run: OpenRun) -> Section | None:
        """Return what was corrected for the overview; the stage ``batches`` shows how batches mix."""
        record = run.record(CorrectStage)
        if run.config.batch_key is None:
            return None
        words = words_of(run)
        done = {f"{words.batch} correction": correction_overview(record, words)}
        return Section(
            f"{words.batch} correction".capitalize(),
            overview={**done, **correction_facts(record, words)},
            notes=record.notes,
        )

    def for_new_cells(self, run: OpenRun) -> NewCorrectStage | None:
        """Return the stage that corrects new cells towards those of the run."""
        from scrcl.engine.stages.correct_new_cells import NewCorrectStage

        return None if run.record(CorrectStage).left_as_is else NewCorrectStage(run)


def correction_bytes(n_batches: int, n_comps: int) -> int:
    """Return the bytes of the sums of each batch and cluster, and of what is solved from them."""
    return 40 * n_batches * 100 * n_comps


def fit_bytes(n_cells: int, n_comps: int) -> int:
    """Return the bytes of Harmony while it is fitted."""
    return n_cells * (_FIT_BYTES_PER_COMP * n_comps + _FIT_BYTES)


def group_members(numbers: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the batches of each group, from the group of each batch."""
    found: dict[int, list[str]] = {}
    for name, number in numbers.items():
        found.setdefault(number, []).append(name)
    return tuple(tuple(found[number]) for number in sorted(found))


def _why(apart: Apart, words: Words, names: list[str]) -> str:
    """Return why components are corrected."""
    by_group, effect = apart.by_group, apart.effect
    if apart.one is not None:
        return f"{words.batch} {names[apart.one]!r} mixes less with the others than by chance"
    what = f"groups of {words.batches}" if by_group else words.batches
    if effect.shared <= FEW_SHARED:  # then few cells show how batches mix
        words = of_groups(words) if by_group else words
        return f"{what} lie apart ({joined_words(effect.shared, words)})"
    return f"{what} mix less than by chance"


def _why_not(effect: BatchEffect, words: Words) -> str:
    """Return why components are left as they are."""
    if effect.mixing >= MIXED:
        return f"{words.batches} mix well ({effect.mixing:.2f} of chance)"
    return f"{words.batches} mix as well as random ones of their sizes might ({effect.mixing:.2f} of chance)"
