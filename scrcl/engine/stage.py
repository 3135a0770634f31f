"""A stage: its settings, checks, estimate, work, record, AnnData keys and part of the report, in one object.

``plan``, ``run``, ``predict``, the budget and the report loop over the list in `scrcl.engine.stages` and name no
stage. So a new stage is one file and one line in that list.

The folder of a stage appears whole when `Stage.run` returns. Its record goes into ``run.json``. A stage whose folder
is there is not run again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from scrcl._atomic import atomic_folder
from scrcl._sizes import format_bytes
from scrcl.engine.usage import UsageMeter, give_back_freed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import dask.array as da
    import numpy as np
    import pandas as pd

    from scrcl._contract import Artifact, Estimate, Shape
    from scrcl._settings import Settings
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.report.page import Section
    from scrcl.typing import Csr, FloatArray

__all__ = ["AnnDataKeys", "Fields", "NewCellsStage", "Record", "RecordT", "Stage", "run_stage"]

_TOLERANCE = 1.05
"""A peak up to this multiple of the memory is not reported, because estimates are rounded."""


class Fields(BaseModel):
    """A part of a record. Frozen and typed."""

    model_config = ConfigDict(frozen=True)


class Record(Fields):
    """What a stage records in ``run.json`` next to its seconds, memory and bytes read. Frozen and typed.

    Attributes
    ----------
    n_cells
        Cells that the stage went through, for its rate; None where it does not go through cells.
    files
        What the stage wrote outside of its folder, relative to OUT. A stage is finished while these exist.
    notes
        What the user should know. They are shown as the run ends, once, and in the report.
    left_as_is
        The stage found nothing to do, and gives nothing: readers get the artifacts of earlier stages.
    """

    n_cells: int | None = None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_as_is: bool = False


RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class AnnDataKeys:
    """What a stage adds to the result. Rows are the retained cells, in the order of the input.

    Attributes
    ----------
    obs, obsm, obsp, var, varm
        Columns and matrices by their AnnData keys.
    uns
        Entries of ``uns["scrcl"]``.
    uns_other
        Other entries of ``uns``.
    n_pairs
        Stored values of all matrices in ``obsp``, for the room that they need.
    """

    obs: Mapping[str, pd.Categorical | FloatArray] = field(default_factory=dict)
    obsm: Mapping[str, FloatArray] = field(default_factory=dict)
    obsp: Mapping[str, Csr | da.Array] = field(default_factory=dict)
    var: Mapping[str, np.ndarray] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)
    uns_other: Mapping[str, Any] = field(default_factory=dict)
    n_pairs: int = 0
    varm: Mapping[str, np.ndarray] = field(default_factory=dict)


class Stage(ABC, Generic[RecordT]):
    """One resumable stage. Only `run` and `estimate` are required.

    Attributes
    ----------
    name
        Name of the stage and of its folder.
    record
        Type of its record.
    settings
        Its group of settings, which `RunConfig` has under the stage's name; None: it has none.
    gives
        Artifacts that it writes. A reader gets the one of the last finished stage that gives it.
    obsm
        Artifacts that the result has in ``obsm``, by their keys.
    redo_settings
        Settings that no earlier stage reads. A finished run can be redone from this stage with other values of
        them (``--from``). Empty: it cannot.
    owned_obs
        Patterns of the columns of ``obs`` that are the stage's own. Those of an earlier run never outlive a later one.
    is_cheap
        Whether losing the work of the stage costs little. A new OUT with nothing else is removed after an error.
    joins_ranks
        Whether other ranks join the stage (`join`).
    """

    name: ClassVar[str]
    record: type[RecordT]
    settings: ClassVar[type[Settings] | None] = None
    gives: ClassVar[tuple[Artifact[Any], ...]] = ()
    obsm: ClassVar[Mapping[str, Artifact[Any]]] = {}
    redo_settings: ClassVar[tuple[str, ...]] = ()
    owned_obs: ClassVar[tuple[str, ...]] = ()
    is_cheap: ClassVar[bool] = False
    joins_ranks: ClassVar[bool] = False

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse what can be seen from the header of the input and the settings.

        Raises
        ------
        InputError
            A setting cannot be met.
        """

    @abstractmethod
    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the memory, disk, bytes and time that the stage takes."""

    def advice(self, config: RunConfig) -> str:  # noqa: ARG002
        """Return what a user can lower when the stage does not fit into memory."""
        return ""

    @abstractmethod
    def run(self, context: Context, folder: Path) -> RecordT:
        """Do the work: fill ``folder``, and return the record."""

    def holds(self, record: RecordT) -> bool:  # noqa: ARG002
        """Return whether a finished stage still holds, where it read what the fingerprint does not cover."""
        return True

    def join(self, context: Context) -> None:
        """Work on a rank that writes nothing, together with `run` on rank 0."""

    def headline(self, record: RecordT) -> Mapping[str, Any]:  # noqa: ARG002
        """Return what the top of ``run.json`` repeats of the record, as JSON values."""
        return {}

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return what the stage adds to the result; by default `obsm`.

        Asked of the stages that are finished before the report, unless they left all as it was.
        """
        return AnnDataKeys(obsm={key: run.open(artifact) for key, artifact in self.obsm.items()})

    def section(self, run: OpenRun) -> Section | None:
        """Return the stage's part of the report; by default its notes. Asked of the stages that are finished before."""
        from scrcl.report.page import Section

        notes = run.record(type(self)).notes
        return Section(self.name.capitalize(), notes=notes) if notes else None

    def for_new_cells(self, run: OpenRun) -> Stage[Any] | None:  # noqa: ARG002
        """Return the stage that does the same for new cells, which are compared with a finished run.

        Raises
        ------
        InputError
            New cells cannot be compared with such a run.
        """
        return None


class NewCellsStage(Stage[RecordT]):
    """A stage of a prediction: it compares new cells with a finished run, which it only reads."""

    def __init__(self, run: OpenRun) -> None:
        self._run = run


def run_stage(stage: Stage[Any], context: Context) -> dict[str, Any]:
    """Run a stage, or skip it where it is finished. Returns its entry in ``run.json``."""
    folder, reporter = context.folder, context.reporter
    done = folder.finished(stage.name)
    if done is not None and stage.holds(stage.record.model_validate(done)):
        if not done.get("left_as_is"):
            reporter.stage_finished(stage.name, done["seconds"], resumed=True)
        return done
    context.interruption.check()
    folder.begin(stage.name)
    reporter.stage_started(stage.name, None, "cells")
    give_back_freed()
    with UsageMeter() as meter, atomic_folder(folder.stage(stage.name)) as partial:
        record = stage.run(context, partial)
    usage = meter.usage
    _note_on_memory(stage.name, usage.peak_rss_bytes, context)
    n_cells = record.n_cells
    entry = {
        "name": stage.name,
        "seconds": round(usage.seconds, 4),
        "peak_rss_bytes": usage.peak_rss_bytes,
        "bytes_read": usage.bytes_read,
        "cells_per_s": None if n_cells is None else round(n_cells / max(usage.seconds, 1e-9), 1),
        **record.model_dump(mode="json"),
    }
    folder.finish(entry)
    if record.left_as_is:
        reporter.stage_left(stage.name)
    else:
        reporter.stage_finished(stage.name, usage.seconds, resumed=False)
    return entry


def _note_on_memory(name: str, peak_bytes: int, context: Context) -> None:
    """Warn at once if a stage took clearly more memory than allowed: a job with a hard limit would have been killed."""
    limit = context.budget.total_bytes
    if peak_bytes > _TOLERANCE * limit:
        context.reporter.note(
            f"The stage {name} took {format_bytes(peak_bytes)} of memory; `memory` is {format_bytes(limit)}. Leave "
            "room for that where the limit of a job is hard. The first run after an installation takes more than "
            "later ones."
        )
