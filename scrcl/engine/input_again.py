"""The input of a finished run, opened again for what is done later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrcl.engine.arguments import shown
from scrcl.engine.paths import moved_paths, open_files
from scrcl.errors import InputError, ResumeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix

__all__ = ["input_of", "input_paths_of", "require_same", "same_in_memory"]


def input_of(
    run: OpenRun, inputs: Sequence[str | Path] = (), data: AnnData | None = None
) -> CellMatrix:
    """Open the input of a finished run again: its files, or ``data`` if it was an AnnData in memory.

    Raises
    ------
    InputError
        It is not where it was, or was an AnnData in memory.
    ResumeError
        It has changed since.
    """
    if data is not None:
        import anndata

        if not isinstance(data, anndata.AnnData):
            message = (
                f"data must be the AnnData that the run was made of; got {shown(data)}. "
                "Files are named by `inputs`."
            )
            raise InputError(message)
        return same_in_memory(run.path, run.manifest, data, run.config.layer)
    scratch = run.folder.stage(run.stages[0].name)
    return require_same(run, open_files(input_paths_of(run, inputs), run.config, scratch))


def require_same(run: OpenRun, matrix: CellMatrix) -> CellMatrix:
    """Return the input if it is that of the run.

    Raises
    ------
    ResumeError
        Its content is another.
    """
    from scrcl.io.identity import content_of

    if content_of(matrix.identity) == run.manifest["settings"]["input"]:
        return matrix
    raise _of_another(run.path, run.manifest, matrix)


def same_in_memory(
    out: Path, manifest: Mapping[str, Any], data: AnnData, layer: str | None
) -> CellMatrix:
    """Open an AnnData as the run in ``out`` read it: in its layer, or in another one that holds the same values now.

    People keep counts in a layer and normalise X after a run.

    Raises
    ------
    ResumeError
        No layer holds what the run read.
    """
    from scrcl.io.identity import content_of, is_in_memory
    from scrcl.io.open import from_anndata

    before = manifest["settings"]["input"]
    matrix = from_anndata(data, layer=layer)
    if content_of(matrix.identity) == before:
        return matrix
    others = [each for each in (None, "raw", *data.layers) if each != layer]
    for other in others if is_in_memory(before) and not data.isbacked else ():
        holds_one = data.X is not None if other is None else other != "raw" or data.raw is not None
        if holds_one:
            found = from_anndata(data, layer=other)
            if content_of(found.identity) == before:
                return found
    raise _of_another(out, manifest, matrix)


def _of_another(out: Path, manifest: Mapping[str, Any], matrix: CellMatrix) -> ResumeError:
    """Return the error that a matrix is not what the run read."""
    from scrcl.io.identity import is_in_memory

    before = manifest["settings"]["input"]
    if is_in_memory(matrix.identity) and is_in_memory(before):
        got, remedy = f"{matrix.label}, which has other values, cells or genes", _AS_IT_WAS
    elif not is_in_memory(matrix.identity) and not is_in_memory(before):
        got = f"{matrix.label}, whose content is another"
        remedy = "Name the right file by `inputs`."
    elif is_in_memory(before):
        got, remedy = f"{matrix.label}, but the run was made of an AnnData in memory", _BY_DATA
    else:
        got = "an AnnData, but the run was made of files"
        remedy = "Leave out `data`; if the files were moved, give `inputs`."
    return ResumeError(f"the input must be that of {out}; got {got}. {remedy}")


_AS_IT_WAS = (
    "Give it as it was at the run. If you normalise X after a run, keep the counts in a layer first: such a layer is "
    "found."
)
_BY_DATA = "In Python, give that AnnData by `data`."


def input_paths_of(run: OpenRun, inputs: Sequence[str | Path] = ()) -> list[Path]:
    """Return where the input of a finished run is.

    Raises
    ------
    InputError
        It is not where it was, or was an AnnData in memory.
    """
    paths = moved_paths(inputs) or [*map(Path, run.manifest.get("inputs", ()))]
    if not paths or not all(path.exists() for path in paths):
        got = ", ".join(map(str, paths)) or "an AnnData in memory"
        remedy = "Name it by `inputs`." if paths else _BY_DATA
        message = f"the input of {run.path} must be where it was; got {got}. {remedy}"
        raise InputError(message)
    return paths
