"""The output folder of a run: which run it holds, which stages are finished, and which process works in it.

``OUT/run.json`` is the manifest: its format, the fingerprint of the run (input and settings), and an entry for each
finished stage. ``OUT/stages/<name>/`` appears whole when a stage ends. A folder of another run, or with other files,
is refused. A lock keeps two processes apart and dies with its process.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrcl import __version__
from scrcl._atomic import remove, write_json
from scrcl.engine.differences import difference, differing
from scrcl.engine.disk import naming_full_disk
from scrcl.engine.fingerprint import fingerprint_of
from scrcl.engine.given_names import GIVEN_NAMES
from scrcl.engine.lock import hold
from scrcl.engine.sub_names import SUB_NAMES
from scrcl.errors import InputError, ResumeError, ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

__all__ = ["Again", "RunFolder", "read_manifest"]

_RESULTS = ("result.h5ad", "result.zarr", "report.html")
_OURS = (
    "stages",
    "checkpoints",
    *_RESULTS,
    "markers.csv",
    "pseudobulk.h5ad",
    "gene_associations.csv",
    "batches.csv",
    "cells.csv",
    GIVEN_NAMES,
    SUB_NAMES,
    "subclusters",
    "config.toml",
)
_OTHER_VERSION = "made by another version"
_MANIFEST = "run.json"

_FORMAT = 2
"""Version of the manifest and of what the stages leave. Folders of another version are refused."""

_LOCK = ".lock"


def read_manifest(path: Path) -> dict[str, Any]:
    """Return ``run.json`` of an output folder.

    Raises
    ------
    StoreError
        The folder holds no run, or its manifest cannot be read.
    """
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = (
            f"OUT must be the output folder of a run; got {path} (no {_MANIFEST} in it). "
            "Name the one that `scrcl.fit` made."
        )
        raise StoreError(message) from None
    except (OSError, ValueError) as error:
        message = f"{path / _MANIFEST} must be readable; got {error}. Name another OUT."
        raise StoreError(message) from None
    if not (isinstance(manifest, dict) and manifest.keys() >= {"fingerprint", "stages"}):
        message = f"{path / _MANIFEST} must be the manifest of a run of scrcl; it is not. Name another OUT."
        raise StoreError(message)
    found = manifest.get("format", 1)
    if found != _FORMAT:
        made_by = manifest.get("versions", {}).get("scrcl", "unknown")
        message = (
            f"OUT must have format {_FORMAT}, which this scrcl {__version__} reads; got {path} of format "
            f"{found}, made by scrcl {made_by}. Name another OUT, or delete this one."
        )
        raise StoreError(message)
    if not isinstance(manifest.get("settings"), dict):
        message = (
            f"{path / _MANIFEST} must hold the settings of a run; it does not. Name another OUT."
        )
        raise StoreError(message)
    return manifest


@dataclass(frozen=True)
class Again:
    """From which stage a finished run is redone, with other settings.

    Attributes
    ----------
    start
        The stage.
    kept
        Earlier stages, which must be finished.
    settings
        Settings that may differ. All others must be as they were.
    """

    start: str
    kept: tuple[str, ...]
    settings: tuple[str, ...]


class RunFolder:
    """An output folder that this process holds; use `RunFolder.claim`."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    @contextmanager
    def claim(
        cls,
        path: Path,
        fingerprint: str,
        settings: dict[str, Any],
        *,
        restart: bool = False,
        replace: bool = False,
        again: Again | None = None,
        advice: Callable[[Sequence[str], Sequence[str]], str] = lambda *_: "",
        cheap: Collection[str] = (),
    ) -> Iterator[RunFolder]:
        """Hold ``path`` for the run ``fingerprint``.

        Parameters
        ----------
        path
            The output folder. A new one is removed again if the run fails on its input before it has work to lose.
        fingerprint, settings
            What the run depends on, as a hash and as JSON values.
        restart
            Remove the run that is there.
        replace
            Remove the run that is there if it is another one.
        again
            Keep only the earlier stages of the run that is there, and take these settings.
        advice
            Returns what else the user can do where another run is there, from the settings that differ, and the stages
            that are finished there.
        cheap
            Stages that cost little to repeat.

        Raises
        ------
        ResumeError
            The folder holds another run or other files, or another process is at work in it.
        StoreError
            It cannot be written.
        """
        try:
            is_new = not (path / _MANIFEST).exists()
            _refuse_foreign(path)
            if again is not None:
                read_manifest(path)
            made = next((p for p in reversed([path, *path.parents]) if not p.exists()), None)
            path.mkdir(parents=True, exist_ok=True)
            lock = hold(path / _LOCK, path)
        except ScrclError:
            raise
        except OSError as error:
            message = f"OUT must be a folder that can be written; got {path} ({error.strerror}). Name another OUT."
            raise StoreError(message) from None
        try:
            if again is None:
                adopted = _adopt(
                    path, fingerprint, settings, restart=restart, replace=replace, advice=advice
                )
                folder = cls(path, adopted)
            else:
                folder = cls(path, _take_up(path, fingerprint, settings, again, advice))
            with naming_full_disk(path):
                try:
                    yield folder
                except (InputError, StoreError):
                    if is_new and not folder.has_work(cheap):
                        folder.discard(made)
                    raise
        finally:
            lock.release()

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.path / "checkpoints"

    def stage(self, name: str) -> Path:
        """Folder of a stage, finished or not."""
        return self.path / "stages" / name

    def has_work(self, cheap: Collection[str]) -> bool:
        """Return whether a stage that is not ``cheap`` is finished."""
        return any(entry["name"] not in cheap for entry in self.manifest["stages"])

    def entry(self, name: str) -> dict[str, Any] | None:
        """Return the entry of a stage; None where it never finished. Its folder may have been deleted since."""
        entries: list[dict[str, Any]] = self.manifest["stages"]
        return next((entry for entry in entries if entry["name"] == name), None)

    def finished(self, name: str) -> dict[str, Any] | None:
        """Return the entry of a stage while its folder and the files that it wrote elsewhere exist; or None."""
        found = self.entry(name)
        if found is None or not self.stage(name).is_dir():
            return None
        files = [self.path / name for name in found.get("files", [])]
        return found if all(file.exists() for file in files) else None

    def begin(self, name: str) -> None:
        """Remove a stage that is about to run, and all that was made after it: results depend on it."""
        entries: list[dict[str, Any]] = self.manifest["stages"]
        names = [entry["name"] for entry in entries]
        if name not in names:
            return
        gone = entries[names.index(name) :]
        del entries[names.index(name) :]
        self.save()
        for entry in gone:
            remove(self.stage(entry["name"]))
            for file in entry.get("files", []):
                remove(self.path / file)

    def finish(self, record: dict[str, Any]) -> None:
        """Add the entry of a stage whose folder has just appeared."""
        self.manifest["stages"].append(record)
        self.save()

    def save(self) -> None:
        """Write the manifest."""
        write_json(self.path / _MANIFEST, self.manifest)

    def discard(self, made: Path | None) -> None:
        """Remove what the run made, up to the outermost folder that it ``made``, if any."""
        for name in (*_OURS, _MANIFEST, _LOCK):
            remove(self.path / name)
        for folder in (self.path, *self.path.parents) if made is not None else ():
            try:
                folder.rmdir()
            except OSError:  # it holds other files by now
                return
            if folder == made:
                return


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        message = f"OUT must be a folder; got the file {path}. Name another OUT."
        raise StoreError(message)
    if not path.is_dir():
        return
    if (path / _MANIFEST).exists():
        read_manifest(path)
        return
    ours = {*_OURS, _LOCK, *(f".{name}.partial" for name in (*_OURS, _MANIFEST))}
    strangers = sorted(p.name for p in path.iterdir() if p.name not in ours)
    if strangers:
        message = (
            f"OUT must be new, empty or a run of scrcl; got {path}, which holds {strangers[0]}. "
            "Name another OUT."
        )
        raise ResumeError(message)


def _adopt(
    path: Path,
    fingerprint: str,
    settings: dict[str, Any],
    *,
    restart: bool,
    replace: bool,
    advice: Callable[[Sequence[str], Sequence[str]], str],
) -> dict[str, Any]:
    """Return the manifest to continue with: the one found, or a new one."""
    there = (path / _MANIFEST).exists()
    found = read_manifest(path) if there and not restart else {}
    if found.get("fingerprint") == fingerprint:
        return found
    if found and not replace:
        changed = differing(found.get("settings", {}), settings)
        message = (
            f"OUT must hold this run; got {path}, which holds another one "
            f"({difference(found.get('settings', {}), settings) or _OTHER_VERSION}). "
            f"{_ways_out(RunFolder(path, found), changed, advice)}"
        )
        raise ResumeError(message)
    if restart or found:
        for name in (*_OURS, _MANIFEST):
            remove(path / name)
    return {"format": _FORMAT, "fingerprint": fingerprint, "settings": settings, "stages": []}


def _ways_out(
    found: RunFolder,
    changed: Sequence[str],
    advice: Callable[[Sequence[str], Sequence[str]], str],
) -> str:
    """Return what the user can do where OUT holds another run."""
    finished = [each["name"] for each in found.manifest["stages"] if found.finished(each["name"])]
    usual = "Name another OUT, or give `restart=True` to start over in this one."
    return usual + advice(changed, finished)


def _take_up(
    path: Path,
    fingerprint: str,
    settings: dict[str, Any],
    again: Again,
    advice: Callable[[Sequence[str], Sequence[str]], str],
) -> dict[str, Any]:
    """Remove the results, and return a manifest with only the stages that are kept."""
    found = RunFolder(path, read_manifest(path))
    before = found.manifest.get("settings", {})
    differs = difference(before, settings, but=again.settings)
    if not differs and found.manifest["fingerprint"] != fingerprint_of(__version__, before):
        differs = _OTHER_VERSION
    if differs:
        message = (
            f"OUT must hold a run that differs only in settings that no stage before {again.start} reads; got {path} "
            f"({differs}). {_ways_out(found, differing(before, settings), advice)}"
        )
        raise ResumeError(message)
    kept = []
    for name in again.kept:
        record = found.finished(name)
        if record is None:
            message = (
                f"OUT must hold a run that is finished up to {again.kept[-1]}; got {path}, where {name} is not "
                "finished. Run it to the end without `start`, with the settings that it has."
            )
            raise ResumeError(message)
        kept.append(record)
    # Folders of later stages are replaced as they run: without an entry they are not finished.
    for name in _RESULTS:
        remove(path / name)
    return {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "settings": settings,
        "stages": kept,
    }
