"""Checkpoints that are whole or passed over.

A file is the digest of its content, then the content. A damaged one (a full disk, a torn copy) is
recognised before anything reads it, and the one before it is taken.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import torch

from scrcl._atomic import atomic_path, remove
from scrcl._progress import Silent
from scrcl.errors import ResumeError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._progress import Reporter
    from scrcl.train.state import TrainState

__all__ = ["Checkpoints"]

_DIGEST_BYTES = 32


class Checkpoints:
    """The checkpoints of one run, in one folder.

    Parameters
    ----------
    folder
        Made when the first is saved.
    fingerprint
        What the run depends on; one saved under another is refused.
    keep
        How many to keep.
    reporter
        Told of those that are damaged.
    """

    def __init__(
        self, folder: Path, fingerprint: str, *, keep: int = 2, reporter: Reporter | None = None
    ) -> None:
        self._folder, self._fingerprint, self._keep = folder, fingerprint, keep
        self._reporter = reporter or Silent()

    def save(self, state: TrainState) -> None:
        """Write the state, whole or not at all, then delete the oldest beyond ``keep``."""
        buffer = io.BytesIO()
        torch.save({"fingerprint": self._fingerprint, "state": state.snapshot()}, buffer)
        content = buffer.getbuffer()
        self._folder.mkdir(parents=True, exist_ok=True)
        with (
            atomic_path(self._folder / f"step-{state.step:08d}.ckpt") as partial,
            partial.open("wb") as file,
        ):
            file.write(_digest(content))
            file.write(content)
        for old in self._paths()[self._keep :]:
            remove(old)

    def latest(self) -> dict[str, Any] | None:
        """Return the newest snapshot that is whole, on the CPU; None where there is none.

        Raises
        ------
        ResumeError
            When it is another run's.
        """
        paths = self._paths()
        for path in paths:
            saved = _read(path)
            if saved is None:
                instead = "start over" if path == paths[-1] else "go on from the one before it"
                self._reporter.note(f"checkpoint {path} is damaged: training will {instead}.")
                continue
            if saved["fingerprint"] != self._fingerprint:
                msg = (
                    f"checkpoints must be of this run ({self._fingerprint}); got {path} of "
                    f"{saved['fingerprint']}. Choose another output folder, or delete this one."
                )
                raise ResumeError(msg)
            state: dict[str, Any] = saved["state"]
            return state
        return None

    def _paths(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        return sorted(self._folder.glob("step-*.ckpt"), reverse=True)


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _read(path: Path) -> dict[str, Any] | None:
    """Return what was saved, or None where the file is not what was written."""
    whole = path.read_bytes()
    content = memoryview(whole)[_DIGEST_BYTES:]
    if _digest(content) != whole[:_DIGEST_BYTES]:
        return None
    saved: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return saved
