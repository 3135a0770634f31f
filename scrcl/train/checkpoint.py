"""Checkpoints; damaged ones are skipped.

A file holds the digest of its content, then the content. So a damaged file (a full disk, an incomplete
copy) is recognised before anything reads it, and the previous one is used.
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
        Created when the first checkpoint is saved.
    fingerprint
        Identifies the run; a checkpoint with another fingerprint is refused.
    keep
        Number of checkpoints to keep.
    reporter
        Receives a note about each damaged checkpoint.
    """

    def __init__(
        self, folder: Path, fingerprint: str, *, keep: int = 2, reporter: Reporter | None = None
    ) -> None:
        self._folder, self._fingerprint, self._keep = folder, fingerprint, keep
        self._reporter = reporter or Silent()

    def save(self, state: TrainState[Any]) -> None:
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
        """Return the newest undamaged snapshot, on the CPU, or None.

        Raises
        ------
        ResumeError
            It belongs to another run.
        """
        paths = self._paths()
        for path in paths:
            saved = _read(path)
            if saved is None:
                instead = (
                    "starts from the beginning"
                    if path == paths[-1]
                    else "resumes from the previous one"
                )
                self._reporter.note(f"Checkpoint {path} is damaged. Training {instead}.")
                continue
            if saved["fingerprint"] != self._fingerprint:
                message = (
                    f"checkpoints must belong to this run ({self._fingerprint}); got {path} of run "
                    f"{saved['fingerprint']}. Choose another output folder, or delete this one."
                )
                raise ResumeError(message)
            state: dict[str, Any] = saved["state"]
            return state
        return None

    def _paths(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        return sorted(self._folder.glob("step-*.ckpt"), key=_step, reverse=True)


def _step(path: Path) -> int:
    """Return the step in the name of a checkpoint. Names would sort wrongly once steps have more digits."""
    return int(path.stem.removeprefix("step-"))


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _read(path: Path) -> dict[str, Any] | None:
    """Return what was saved, or None if the file is damaged."""
    whole = path.read_bytes()
    content = memoryview(whole)[_DIGEST_BYTES:]
    if _digest(content) != whole[:_DIGEST_BYTES]:
        return None
    saved: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return saved
