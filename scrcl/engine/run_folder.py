"""The output folder of one run: whose it is, what is finished in it, and who is at work.

``OUT/run.json`` is the manifest: the fingerprint of the run (input and settings) and a record for each
finished stage. ``OUT/stages/<name>/`` appears whole when a stage ends. A folder of another run, or of
somebody else, is refused; a lock keeps two processes apart and dies with its process.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import remove, write_json
from scrcl.engine.disk import naming_full_disk
from scrcl.engine.lock import hold
from scrcl.errors import InputError, ResumeError, ScrclError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Again",
    "RunFolder",
    "fingerprint_of",
    "fingerprint_of_array",
    "keep_apart",
    "read_manifest",
]

_RESULTS = ("result.h5ad", "result.zarr", "report.html")
_OURS = ("stages", "checkpoints", *_RESULTS, "config.toml")
_OTHER_VERSION = "made by another version"
_MANIFEST = "run.json"
_CHEAP_STAGES = 2
_LOCK = ".lock"


def fingerprint_of(*parts: Any) -> str:
    """Hash of JSON values, the same on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fingerprint_of_array(values: np.ndarray) -> str:
    """Hash of the values of an array, its shape and dtype."""
    array = np.ascontiguousarray(values)
    hashed = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    hashed.update(array.data)
    return hashed.hexdigest()


def keep_apart(identity: dict[str, Any], out: Path) -> None:
    """Refuse an OUT that is or holds an input, or lies in it: inputs are never written to."""
    here = out.resolve()
    for sample in identity.get("samples", [identity]):
        there = Path(sample["path"]) if "path" in sample else None
        if there and (there.is_relative_to(here) or here.is_relative_to(there)):
            message = f"OUT must lie apart from the input; got {out} and {there}. Name another OUT."
            raise InputError(message)


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
            f"OUT must be the output folder of `scrcl run`; got {path} (no {_MANIFEST} in it)."
        )
        raise StoreError(message) from None
    except (OSError, ValueError) as error:
        message = f"{path / _MANIFEST} must be readable; got {error}. Name another OUT."
        raise StoreError(message) from None
    if not (isinstance(manifest, dict) and manifest.keys() >= {"fingerprint", "stages"}):
        message = f"{path / _MANIFEST} must be of a run of scrcl; it is not. Name another OUT."
        raise StoreError(message)
    return manifest


@dataclass(frozen=True)
class Again:
    """Where a finished run is taken up again, with other settings than it had.

    Attributes
    ----------
    kept
        Stages before that, which must be finished.
    settings
        Those that only later stages read; all others must be as they were.
    """

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
        again: Again | None = None,
        advice: str = "",
    ) -> Iterator[RunFolder]:
        """Hold ``path`` for the run ``fingerprint``; a fresh folder that fails on its input vanishes.

        With ``again``, a run that is there keeps its earlier stages alone, and takes on these settings. ``advice`` is
        what else can be done where another run is there.

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
            message = f"OUT must be a folder that can be written; got {path} ({error.strerror})."
            raise StoreError(message) from None
        try:
            if again is None:
                folder = cls(path, _adopt(path, fingerprint, settings, restart, advice))
            else:
                folder = cls(path, _take_up(path, fingerprint, settings, again))
            with naming_full_disk(path):
                try:
                    yield folder
                except (InputError, StoreError):
                    if is_new and not folder.has_work:
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

    @property
    def has_work(self) -> bool:
        """Whether a stage that takes time, one after the statistics, is finished."""
        return len(self.manifest["stages"]) > _CHEAP_STAGES

    def finished(self, name: str) -> dict[str, Any] | None:
        """Return the record of a stage whose folder, and what else it wrote, is there; or None."""
        records: list[dict[str, Any]] = self.manifest["stages"]
        found = next((r for r in records if r["name"] == name), None)
        if found is None or not self.stage(name).is_dir():
            return None
        files = [self.path / name for name in found.get("files", [])]
        return found if all(file.exists() for file in files) else None

    def begin(self, name: str) -> None:
        """Forget the record of a stage that is about to run, and of those that came after it."""
        names = [record["name"] for record in self.manifest["stages"]]
        if name in names:
            del self.manifest["stages"][names.index(name) :]
            self.save()

    def finish(self, record: dict[str, Any]) -> None:
        """Keep the record of a stage whose folder has just appeared."""
        self.manifest["stages"].append(record)
        self.save()

    def save(self) -> None:
        """Write the manifest."""
        write_json(self.path / _MANIFEST, self.manifest)

    def discard(self, made: Path | None) -> None:
        """Remove what the run made, with the outermost folder that it ``made``, if any."""
        for name in (*_OURS, _MANIFEST, _LOCK):
            remove(self.path / name)
        for folder in (self.path, *self.path.parents) if made is not None else ():
            try:
                folder.rmdir()
            except OSError:  # something else is in it by now
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
    restart: bool,
    advice: str,
) -> dict[str, Any]:
    """Return the manifest to go on with: the one found, or a fresh one."""
    if (path / _MANIFEST).exists() and not restart:
        found = read_manifest(path)
        if found.get("fingerprint") != fingerprint:
            message = (
                f"OUT must hold this run; got {path}, which holds another one "
                f"({_difference(found.get('settings', {}), settings) or _OTHER_VERSION}). "
                f"Name another OUT, or --restart to start over in this one.{advice}"
            )
            raise ResumeError(message)
        return found
    if restart:
        for name in (*_OURS, _MANIFEST):
            remove(path / name)
    return {"fingerprint": fingerprint, "settings": settings, "stages": []}


def _take_up(
    path: Path, fingerprint: str, settings: dict[str, Any], again: Again
) -> dict[str, Any]:
    """Return a manifest with the stages that are kept alone, once the results of the others are gone."""
    from scrcl import __version__

    found = RunFolder(path, read_manifest(path))
    before = found.manifest.get("settings", {})
    differs = _difference(before, settings, but=again.settings)
    if not differs and found.manifest["fingerprint"] != fingerprint_of(__version__, before):
        differs = _OTHER_VERSION
    if differs:
        message = (
            f"OUT must hold a run that differs in {', '.join(again.settings)} alone; got {path} ({differs}). "
            "Name another OUT, or --restart to start over in this one."
        )
        raise ResumeError(message)
    kept = []
    for name in again.kept:
        record = found.finished(name)
        if record is None:
            message = (
                f"OUT must hold a run that is finished up to {again.kept[-1]}; got {path}, which has no stage {name}. "
                "Run it to the end without --from."
            )
            raise ResumeError(message)
        kept.append(record)
    # Folders of later stages are replaced as they run: without a record they are not finished.
    for name in _RESULTS:
        remove(path / name)
    return {"fingerprint": fingerprint, "settings": settings, "stages": kept}


def _difference(found: dict[str, Any], asked: dict[str, Any], but: tuple[str, ...] = ()) -> str:
    """Name the first setting that differs, with both values, leaving some out; empty where none does."""
    a, b = _flat(found), _flat(asked)
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key) and not any(f"{key}.".startswith(f"{name}.") for name in but):
            return f"{key} is {a.get(key)!r} there and {b.get(key)!r} here"
    return ""


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat
