"""Stage ``names`` of a prediction: the names that the clusters of the run have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Estimate
from scrcl.engine.stage import AnnDataKeys, NewCellsStage, Record
from scrcl.engine.stages.names import NamesStage, keys_of_names
from scrcl.markers.artifacts import NAMES, NAMES_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["NewNamesStage"]


class NewNamesRecord(Record):
    """Name of each cluster of the run; none if the run has no names."""

    names: tuple[str, ...] = ()


class NewNamesStage(NewCellsStage[NewNamesRecord]):
    """Gives new cells the names of the clusters of the run."""

    name = "names"
    record = NewNamesRecord
    gives = (NAMES,)
    owned_obs = NamesStage.owned_obs

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return next to nothing: a row for each cluster."""
        return Estimate(0)

    def holds(self, record: NewNamesRecord) -> bool:
        """Return whether the clusters of the run still have the names that were read."""
        return record.names == self._names()

    def run(self, context: Context, folder: Path) -> NewNamesRecord:  # noqa: ARG002
        """Write ``names.csv``: that of the run."""
        names = self._names()
        if names:
            self._run.open(NAMES).to_csv(folder / NAMES_FILE, index=False)
        return NewNamesRecord(names=names, left_as_is=not names)

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the name of the cluster of each cell, and the table."""
        return keys_of_names(run)

    def _names(self) -> tuple[str, ...]:
        return tuple(map(str, self._run.open(NAMES)["name"])) if self._run.has(NAMES) else ()
