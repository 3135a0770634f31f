"""A run: its checks, its output folder, and the loop over its stages.

Everything that the header of the input can show is checked before the output folder is touched. Then each stage runs,
or is found finished. No stage is named here: the list is `scrcl.engine.stages.STAGES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any, TypedDict

from scrcl import __version__
from scrcl._atomic import atomic_path
from scrcl._interrupt import Interrupted, Interruption
from scrcl._progress import Silent
from scrcl.engine.announce import announce
from scrcl.engine.budget import plan_budget
from scrcl.engine.context import Context, Workers
from scrcl.engine.covariates import Covariates, read_covariates
from scrcl.engine.device import resolve_device, versions
from scrcl.engine.fingerprint import fingerprint_of, fingerprints_of_files
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.engine.found_batches import with_found
from scrcl.engine.paths import keep_apart, open_files
from scrcl.engine.redo import advice_to_redo, kept_from, settings_to_redo
from scrcl.engine.shape import shape_of
from scrcl.engine.stage import run_stage
from scrcl.engine.stages import STAGES
from scrcl.errors import InputError
from scrcl.io.identity import content_of, paths_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Unpack

    from scrcl._contract import Shape
    from scrcl._progress import Reporter
    from scrcl.engine.config import RunConfig
    from scrcl.engine.stage import Stage
    from scrcl.io.matrix import CellMatrix
    from scrcl.train.ranks import Ranks
    from scrcl.typing import FloatArray

__all__ = [
    "RunResult",
    "run_files",
    "run_in_folder",
    "run_matrix",
    "stages_until",
]


class RunOptions(TypedDict, total=False):
    """How a run goes. Nothing here changes its result.

    Attributes
    ----------
    reporter
        Receives progress; nothing is reported where it is left out.
    restart
        Start over where the output folder holds a run.
    replace
        Start over where the output folder holds another run: other settings, or other cells.
    start
        A stage such as ``cluster`` or ``report``: redo it and later stages of the run in the output folder, with new
        settings of theirs. The trained model is kept.
    until
        Last stage to run. The same call without it continues.
    client
        A ``distributed.Client`` whose workers read the input; they must see its files and the output folder.
    ranks
        The processes that train together. All call alike and see the output folder: rank 0 runs every stage, the
        others wait for the stage ``train``, join it, and return.
    interruption
        Asks the run to stop. It ends as soon as it can, and the same call continues.
    stages
        What to run, in order.
    """

    reporter: Reporter | None
    restart: bool
    replace: bool
    start: str | None
    until: str | None
    client: Any
    ranks: Ranks | None
    interruption: Interruption | None
    stages: Sequence[Stage[Any]]


@dataclass(frozen=True)
class RunResult:
    """Where a run left its results.

    Attributes
    ----------
    out
        Output folder. `scrcl.open_run` reads it.
    stages
        Entries of ``run.json``; none on ranks that only train.
    result_path, report_path
        None where the run was asked to end before them.
    found_finished
        Whether every stage was finished before, so that nothing was done.
    clusters
        Name, cells, share and markers of each cluster, as in ``run.json``; empty before there are clusters.
    named_coordinates
        What the setting ``coordinates`` names, for all cells of the input; None without it.
    """

    out: Path
    stages: list[dict[str, Any]]
    result_path: Path | None = None
    report_path: Path | None = None
    found_finished: bool = False
    clusters: Sequence[Mapping[str, Any]] = ()
    named_coordinates: FloatArray | None = None


def run_files(
    inputs: Sequence[Path], out: Path, config: RunConfig, **options: Unpack[RunOptions]
) -> RunResult:
    """Cluster the cells of files; see `run_matrix`. With ``start``, settings not given are those of the run."""
    config = settings_to_redo(
        out,
        config,
        options.get("stages", STAGES),
        start=options.get("start"),
        restart=options.get("restart", False),
        reporter=options.get("reporter"),
    )
    return run_matrix(partial(open_files, inputs, config), out, config, **options)


def run_matrix(
    open_matrix: Callable[[Path | None], CellMatrix],
    out: Path,
    config: RunConfig,
    **options: Unpack[RunOptions],
) -> RunResult:
    """Run every stage that is not finished yet in ``out``.

    Parameters
    ----------
    open_matrix
        Opens the input. Given a folder, it may rewrite a layout there that cannot be streamed by rows.
    out
        Output folder. An interrupted run of the same input and settings is resumed there.
    options
        See `RunOptions`.

    Raises
    ------
    ScrclError
        Bad input or settings, a folder of another run, too little memory, or training that diverged.
    Interrupted
        It was asked to stop.
    """
    from scrcl.train.ranks import Ranks

    workers = Workers(
        options.get("reporter") or Silent(),
        options.get("ranks") or Ranks.alone(),
        options.get("interruption") or Interruption(),
        options.get("client"),
    )
    ranks, stages = workers.ranks, options.get("stages", STAGES)
    if not ranks.is_first:
        try:
            if ranks.called():
                _join(open_matrix, out, config, stages, workers)
        except Interrupted as stopped:
            workers.interruption.ask(stopped.number)
            raise
        return RunResult(out, [])
    restart = options.get("restart", False)
    claim: dict[str, Any] = {
        "restart": restart,
        "replace": options.get("replace", False),
        "again": kept_from(stages, options.get("start"), restart=restart),
    }
    with ranks.leading():
        wanted = stages_until(stages, options.get("until"))
        return _lead(open_matrix, out, config, wanted, workers, claim)


def _lead(
    open_matrix: Callable[[Path | None], CellMatrix],
    out: Path,
    config: RunConfig,
    stages: Sequence[Stage[Any]],
    workers: Workers,
    claim: Mapping[str, Any],
) -> RunResult:
    """Check, claim the folder (``claim`` says how), and run the stages."""
    header = open_matrix(None)
    config, notes = with_found(config, header)
    for stage in stages:
        stage.check(header, config)
    keep_apart(header.identity, out)
    resolve_device(config.device, workers.ranks.local)
    covariates = read_covariates(header, config, notes=notes)
    shape = shape_of(header, config, n_batches=covariates.n_batches)
    budget = plan_budget(config.memory, stages, shape, config)
    settings = {
        "input": content_of(header.identity),
        **config.fingerprinted(),
        **covariates.fingerprints(),
        **fingerprints_of_files(config),
    }
    with RunFolder.claim(
        out,
        fingerprint_of(__version__, settings),
        settings,
        **claim,
        advice=advice_to_redo(stages),
        cheap=[stage.name for stage in stages if stage.is_cheap],
    ) as folder:
        context = Context(
            folder,
            stages,
            config,
            budget=budget,
            covariates=covariates,
            open_matrix=open_matrix,
            workers=workers,
        )
        return run_in_folder(context, shape, inputs=paths_of(header.identity))


def _join(
    open_matrix: Callable[[Path | None], CellMatrix],
    out: Path,
    config: RunConfig,
    stages: Sequence[Stage[Any]],
    workers: Workers,
) -> None:
    """Train together with rank 0, which made the inputs, holds the folder and writes the results."""
    shared = [stage for stage in stages if stage.joins_ranks]
    header = open_matrix(None)
    config = with_found(config, header)[0]
    shape = shape_of(header, config)
    context = Context(
        RunFolder(out, read_manifest(out)),
        stages,
        config,
        budget=plan_budget(config.memory, shared, shape, config),
        covariates=Covariates(),
        open_matrix=open_matrix,
        workers=Workers(Silent(), workers.ranks, workers.interruption),
    )
    for stage in shared:
        stage.join(context)


def run_in_folder(context: Context, shape: Shape, **facts: Any) -> RunResult:
    """Write the settings and ``facts`` into the folder, announce what is left to do, and run the stages."""
    folder, config = context.folder, context.config
    folder.manifest |= {"versions": versions(), "memory_bytes": config.memory, **facts}
    folder.save()  # the manifest first: it makes the folder ours
    with atomic_path(folder.path / "config.toml") as file:
        file.write_text(config.to_toml(), encoding="utf-8")
    announce(context, shape)
    return _run_stages(context)


def _run_stages(context: Context) -> RunResult:
    """Run the stages of a context, and write into the manifest what they took in all."""
    folder, entries = context.folder, list[dict[str, Any]]()
    earlier = [folder.entry(stage.name) for stage in context.stages]
    try:
        for stage in context.stages:
            entries.append(run_stage(stage, context))
    finally:
        context.reporter.run_ended(*_notes_to_show(entries, folder.path))
    for stage in context.stages:
        folder.manifest |= stage.headline(context.record(type(stage)))
    for entry in entries:
        if entry["notes"]:
            entry["notes_shown"] = True
    folder.manifest |= {
        "seconds": round(sum(entry["seconds"] for entry in entries), 3),
        "peak_rss_bytes": max(entry["peak_rss_bytes"] for entry in entries),
    }
    folder.save()
    files = {name for entry in entries for name in entry["files"]}
    result = str(folder.manifest.get("result"))
    return RunResult(
        out=folder.path,
        stages=entries,
        result_path=folder.path / result if result in files else None,
        report_path=folder.path / "report.html" if "report.html" in files else None,
        found_finished=all(map(is_, entries, earlier)),
        clusters=next((entry["clusters"] for entry in entries if "clusters" in entry), ()),
        named_coordinates=context.covariates.named_coordinates,
    )


def _notes_to_show(entries: Sequence[Mapping[str, Any]], out: Path) -> tuple[list[str], str]:
    """Return the notes that no earlier call has shown, and a line on the others; empty if there are none.

    Calls show notes at their end, so a call that was killed has shown none.
    """
    shown = [note for entry in entries if entry.get("notes_shown") for note in entry["notes"]]
    unseen = [note for entry in entries if not entry.get("notes_shown") for note in entry["notes"]]
    if not shown:
        return unseen, ""
    what, are = ("note", "is") if len(shown) == 1 else ("notes", "are")
    where = "the report" if (out / "report.html").exists() else f"{out}/run.json"
    return unseen, f"{len(shown)} {what} of earlier stages {are} in {where}."


def stages_until(stages: Sequence[Stage[Any]], until: str | None) -> Sequence[Stage[Any]]:
    """Return the stages up to the one named; all where None.

    Raises
    ------
    InputError
        No stage has that name.
    """
    names = [stage.name for stage in stages]
    if until is None:
        return stages
    if until not in names:
        message = f"until must name a stage; got {until!r}. There are: {', '.join(names)}."
        raise InputError(message)
    return stages[: names.index(until) + 1]
