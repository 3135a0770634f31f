"""What finished stages left in an output folder: artifacts and records, by type."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from scrcl.errors import ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scrcl._contract import Artifact
    from scrcl.engine.folder import RunFolder
    from scrcl.engine.stage import RecordT, Stage

__all__ = ["Outputs", "naming_damage"]

T = TypeVar("T")


@contextmanager
def naming_damage(folder: Path, what: str) -> Iterator[None]:
    """Turn any fault while the folder of a stage is read into an error that names the folder and ``what`` it must do.

    Raises
    ------
    StoreError
        The folder is damaged.
    """
    try:
        yield
    except ScrclError:
        raise
    except Exception as error:
        message = (
            f"{folder} must {what}; got {type(error).__name__}: {error}. Delete that folder, and repeat the command "
            "that made it."
        )
        raise StoreError(message) from error


class Outputs:
    """Artifacts and records of the finished stages of a run.

    Parameters
    ----------
    folder
        Output folder.
    stages
        Stages of the run, in order.
    """

    def __init__(self, folder: RunFolder, stages: Sequence[Stage[Any]]) -> None:
        self.folder = folder
        self.stages = tuple(stages)

    @property
    def finished(self) -> tuple[Stage[Any], ...]:
        """The stages that are finished, in order."""
        return tuple(stage for stage in self.stages if self.folder.finished(stage.name) is not None)

    def has(self, artifact: Artifact[Any]) -> bool:
        """Return whether a finished stage gives ``artifact``."""
        return self._giver(artifact) is not None

    def open(self, artifact: Artifact[T]) -> T:
        """Return what the last finished stage that gives ``artifact`` wrote. Large arrays are memory maps.

        Raises
        ------
        StoreError
            It is missing or damaged; the message names the folder and what to do.
        """
        folder = self._giver(artifact)
        if folder is None:
            names = [stage.name for stage in self.stages if artifact in stage.gives]
            message = (
                f"OUT must hold the {artifact.name}; got {self.folder.path}, where no finished stage has them "
                f"(they come from {' or '.join(names) or 'no stage of this run'}). "
                "Repeat the command that made it, to the end."
            )
            raise StoreError(message)
        with naming_damage(folder, f"hold the {artifact.name}"):
            return artifact.load(folder)

    def record(self, stage: type[Stage[RecordT]]) -> RecordT:
        """Return the record of a finished stage, also where its folder was deleted since.

        Raises
        ------
        StoreError
            The stage is not finished.
        """
        entry = self.folder.entry(stage.name)
        if entry is None:
            message = (
                f"OUT must hold a run with the stage {stage.name} finished; got {self.folder.path}. "
                "Repeat the command that made it, to the end."
            )
            raise StoreError(message)
        return stage.record.model_validate(entry)

    def is_left_as_is(self, stage: Stage[Any]) -> bool:
        """Return whether a stage found nothing to do."""
        return bool((self.folder.entry(stage.name) or {}).get("left_as_is"))

    def given_by(self, stage: Stage[Any]) -> tuple[Artifact[Any], ...]:
        """Return what a stage of the run gives: nothing if it left everything as it was."""
        return () if self.is_left_as_is(stage) else stage.gives

    def _giver(self, artifact: Artifact[Any]) -> Path | None:
        for stage in reversed(self.stages):
            is_finished = self.folder.finished(stage.name) is not None
            if is_finished and artifact in self.given_by(stage):
                return self.folder.stage(stage.name)
        return None
