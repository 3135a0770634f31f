"""The hidden folder in which a store grows.

``.<name>.converting`` lies beside OUT: the store so far, copies of inputs that are not in order, and
a journal. The store takes the name OUT when it is whole, and then the folder goes.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrcl._atomic import remove, write_json
from scrcl.engine.folder import fingerprint_of
from scrcl.errors import InputError, ResumeError, ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl._progress import Reporter

__all__ = ["Work"]

_JOURNAL = "journal.json"
_LOCK = ".lock"


class Work:
    """The hidden folder beside ``out``, with its journal."""

    def __init__(self, out: Path) -> None:
        out = Path(os.path.abspath(out))  # noqa: PTH100 - a link as OUT stays the link
        if not out.name:
            raise StoreError(f"OUT must be a folder to make; got {out}.")
        self.out = out
        self.path = out.with_name(f".{out.name}.converting")
        self.journal: dict[str, Any] = {}

    @property
    def is_moved(self) -> bool:
        """Whether the finished store got its name, and only the rest of the work is left."""
        return self.out.exists() and "record" in self.journal

    @property
    def has_progress(self) -> bool:
        """Whether a read of the whole input is done, so that there is something to go on with."""
        return "dtype" in self.journal

    @contextmanager
    def claimed(self, settings: dict[str, Any], reporter: Reporter) -> Iterator[None]:
        """Hold the folder; start over where it holds work on something else; remove it at the end."""
        if self.out.exists() and not self.path.exists():
            raise self._there()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            msg = f"OUT must be a folder that can be written; got {self.out} ({error.strerror})."
            raise StoreError(msg) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                msg = f"OUT must have one writer at a time; another process writes {self.out}."
                raise ResumeError(msg) from None
            self._adopt(settings, reporter)
            try:
                yield
            except ScrclError as error:
                if isinstance(error, InputError) or not self.has_progress:
                    remove(self.path)
                raise
            remove(self.path)

    def _adopt(self, settings: dict[str, Any], reporter: Reporter) -> None:
        fingerprint = fingerprint_of(settings)
        try:
            self.journal = json.loads((self.path / _JOURNAL).read_text("utf-8"))
        except (OSError, ValueError):
            self.journal = {}
        is_same = self.journal.get("fingerprint") == fingerprint
        if self.out.exists() and not (is_same and self.is_moved):
            raise self._there()
        if not is_same:
            if self.journal:
                reporter.note(f"{self.path} held a conversion of something else: starting over.")
            for file in self.path.iterdir():
                if file.name != _LOCK:
                    remove(file)
            self.journal = {"fingerprint": fingerprint}

    def _there(self) -> StoreError:
        return StoreError(f"OUT must not exist; got {self.out}. Delete it or name another OUT.")

    def save(self, **more: Any) -> None:
        """Add to the journal, on disk."""
        self.journal |= more
        write_json(self.path / _JOURNAL, self.journal)

    def move(self) -> None:
        """Give the finished store its name."""
        (self.path / "store").rename(self.out)
