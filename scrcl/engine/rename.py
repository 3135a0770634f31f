"""Rename the clusters of a finished run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from scrcl.engine.given_names import GIVEN_NAMES, keep_names, plain_names, read_names
from scrcl.engine.input_again import input_paths_of
from scrcl.engine.stages.subclusters import LOOKS, subclusters_of
from scrcl.engine.sub_names import SUB_NAMES, keep_sub_names
from scrcl.errors import ScrclError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from scrcl._progress import Reporter
    from scrcl.engine.run import RunResult

__all__ = ["Names", "keep_given", "rename"]

Names: TypeAlias = "str | Path | Mapping[Any, str]"
"""A CSV file, or names by cluster."""


@contextmanager
def keep_given(out: str | Path, names: Names) -> Iterator[None]:
    """Keep names in the folder of a finished run, unless the work inside is refused. See `rename`."""
    from scrcl.engine.open_run import open_run

    run = open_run(out)
    labels, looks = run.labels, run.path / LOOKS
    given = read_names(names, plain_names(run, labels), subclusters_of(run))
    files = [run.path / GIVEN_NAMES, *looks.glob(f"*/{SUB_NAMES}")]
    before = {file: file.read_bytes() for file in files if file.exists()}
    if given.clusters:
        keep_names(run.path, given.clusters, labels)
    keep_sub_names(looks, given.subclusters)
    try:
        yield
    except ScrclError:
        for file in (run.path / GIVEN_NAMES, *looks.glob(f"*/{SUB_NAMES}")):
            if file in before:
                file.write_bytes(before[file])
            else:
                file.unlink()
        raise


def rename(
    out: str | Path,
    names: Names,
    *,
    inputs: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
) -> RunResult:
    """Give names to clusters of a finished run, and write its result and report again; see `scrcl.rename`.

    Parameters
    ----------
    inputs
        Where the input of the run is now, if it was moved.
    """
    from scrcl.engine.config import RunConfig
    from scrcl.engine.open_run import open_run
    from scrcl.engine.run import run_files

    run = open_run(out)
    paths = input_paths_of(run, inputs)
    with keep_given(run.path, names):
        return run_files(paths, run.path, RunConfig(), start="names", reporter=reporter)
