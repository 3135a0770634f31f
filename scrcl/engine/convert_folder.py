"""The hidden folder in which a store is written.

``.<name>.converting``, in the same folder as OUT, holds the unfinished store, copies of inputs that
are not in order, and a journal. The finished store is renamed to OUT, and the folder is removed.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrcl._atomic import remove, write_json
from scrcl.engine.fingerprint import fingerprint_of
from scrcl.engine.lock import hold
from scrcl.errors import InputError, ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl._progress import Reporter

__all__ = ["WorkFolder"]

_JOURNAL = "journal.json"
_LOCK = ".lock"


class WorkFolder:
    """The hidden folder of ``out``, with its journal."""

    def __init__(self, out: Path) -> None:
        out = Path(os.path.abspath(out))  # noqa: PTH100 - a link as OUT stays the link
        if not out.name:
            message = f"OUT must be a folder to create; got {out}. Name another OUT."
            raise StoreError(message)
        self.out = out
        self.path = out.with_name(f".{out.name}.converting")
        self.journal: dict[str, Any] = {}

    @property
    def is_moved(self) -> bool:
        """Whether the finished store has its name, so that only clean-up is left."""
        return self.out.exists() and "record" in self.journal

    @property
    def has_progress(self) -> bool:
        """Whether the first read of the input is done, so that a conversion can resume."""
        return "dtype" in self.journal

    @contextmanager
    def claimed(self, settings: dict[str, Any], reporter: Reporter) -> Iterator[None]:
        """Hold the folder and remove it at the end.

        WorkFolder on another input, or with other settings, is started over. After an error the folder stays if the
        conversion can resume.

        Raises
        ------
        StoreError
            OUT exists, or the folder cannot be written.
        ResumeError
            Another process holds the folder.
        """
        if self.out.exists() and not self.path.exists():
            raise self._exists_already()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = hold(self.path / _LOCK, self.out)
        except ScrclError:
            raise
        except OSError as error:
            message = f"OUT must be a folder that can be written; got {self.out} ({error.strerror}). Name another OUT."
            raise StoreError(message) from None
        try:
            self._adopt(settings, reporter)
            try:
                yield
            except ScrclError as error:
                if isinstance(error, InputError) or not self.has_progress:
                    remove(self.path)
                raise
            remove(self.path)
        finally:
            lock.release()

    def _adopt(self, settings: dict[str, Any], reporter: Reporter) -> None:
        fingerprint = fingerprint_of(settings)
        try:
            self.journal = json.loads((self.path / _JOURNAL).read_text("utf-8"))
        except (OSError, ValueError):
            self.journal = {}
        is_same = self.journal.get("fingerprint") == fingerprint
        if self.out.exists() and not (is_same and self.is_moved):
            raise self._exists_already()
        if not is_same:
            if self.journal:
                reporter.note(f"{self.path} holds another conversion. Starting over.")
            for file in self.path.iterdir():
                if file.name != _LOCK:
                    remove(file)
            self.journal = {"fingerprint": fingerprint}

    def _exists_already(self) -> StoreError:
        message = f"OUT must not exist; got {self.out}. Delete it or name another OUT."
        return StoreError(message)

    def save(self, **more: Any) -> None:
        """Add to the journal, on disk."""
        self.journal |= more
        write_json(self.path / _JOURNAL, self.journal)

    def move(self) -> None:
        """Give the finished store its name."""
        (self.path / "store").rename(self.out)
