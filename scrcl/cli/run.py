"""Commands that cluster and score: run, evaluate, demo."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrcl.cli.app import FinishedOut, From, Inputs, Json, Out, Quiet, Restart, Until, app
from scrcl.cli.options import Given, with_config, with_settings
from scrcl.engine.config import RunConfig
from scrcl.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.engine.evaluate import Scores

__all__ = ["demo", "evaluate", "run"]

Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Address of a dask scheduler whose workers read the input.",
        rich_help_panel="Resources",
    ),
]
LabelTable = Annotated[
    Path | None,
    typer.Option(
        help="CSV file of which --labels is a column; its first column has the names of the cells."
    ),
]


@app.command("fit", hidden=True)
@app.command()
@with_config()
def run(
    context: typer.Context,
    inputs: Inputs,
    out: Out,
    config: RunConfig,
    start: From = None,
    until: Until = None,
    scheduler: Scheduler = None,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Cluster the cells of INPUTS: embedding, clusters, markers and a report in OUT.

    The same command resumes an interrupted run.
    """
    with _client(scheduler) as client:
        _run_and_show(
            inputs,
            out,
            config,
            quiet=quiet,
            restart=restart,
            start=start,
            until=until,
            client=client,
            interruption=context.obj,
        )


@app.command()
def evaluate(
    out: FinishedOut,
    labels: Annotated[
        str,
        typer.Option(
            help="Column with the labels, of obs or of --table; or the output folder of another run of the same cells."
        ),
    ],
    table: LabelTable = None,
    as_json: Json = False,
) -> None:
    """Score the clusters of a run against labels or another run: ACC (Hungarian), NMI, ARI, macro F1."""
    from scrcl.engine.evaluate import evaluate as evaluate_run

    scores = evaluate_run(out, labels, table=table)
    if as_json:
        typer.echo(json.dumps(_known(scores)))
    else:
        _print_scores(scores)


@app.command()
@with_settings(only=["n_clusters", "seed"])
def demo(
    context: typer.Context,
    out: Out,
    given: Given,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Cluster the 700 PBMC that come with scanpy, and compare with their published labels."""
    from scrcl.cli.render import console
    from scrcl.engine.demo import LABELS, demo_path
    from scrcl.engine.evaluate import evaluate as evaluate_run
    from scrcl.engine.load_config import load_config

    is_first = _run_and_show(
        [demo_path()],
        out,
        load_config(overrides={**given, "layer": "raw"}),
        quiet=quiet,
        restart=restart,
        interruption=context.obj,
    )
    if is_first:
        console.print(f"\nagreement with {LABELS}:")
        _print_scores(evaluate_run(out, LABELS))


@contextmanager
def _client(scheduler: str | None) -> Iterator[Any]:
    """Yield a client of the dask scheduler at an address; None without an address."""
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        message = (
            "--scheduler must have dask's distributed; it is not installed. "
            "Install scrcl[distributed]."
        )
        raise MissingDependencyError(message) from None
    try:
        client: Any = Client(scheduler, timeout="10s")  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, ValueError) as error:
        message = (
            f"--scheduler must be the address of a dask scheduler; got {scheduler} ({error}). "
            "Check that it is running."
        )
        raise InputError(message) from None
    with client:
        yield client


def _run_and_show(
    inputs: list[Path], out: Path, config: RunConfig, *, quiet: bool, **how: Any
) -> bool:
    """Run and print the result; False on a rank other than the first, which prints nothing."""
    from scrcl.cli.libraries import load_libraries

    load_libraries()
    from scrcl.cli.render import reporting, say, show_run
    from scrcl.engine.run import run_files
    from scrcl.train.ranks import Ranks

    ranks = Ranks.from_environment()
    if not ranks.is_first:
        run_files(inputs, out, config, ranks=ranks, **how)
        return False
    with reporting(quiet) as reporter:
        result = run_files(inputs, out, config, reporter=reporter, ranks=ranks, **how)
    if result.result_path is None:
        last = result.stages[-1]["name"]
        say(
            f"\nThe run in {out} is done up to the stage {last}. The same command without --until continues."
        )
        reporter.show_notes()
    else:
        show_run(result, reporter, timed=not quiet)
    return True


def _known(scores: Scores) -> dict[str, Any]:
    return {name: value for name, value in asdict(scores).items() if value is not None}


def _print_scores(scores: Scores) -> None:
    from scrcl.cli.render import console
    from scrcl.cli.tables import record_table

    shown = {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in _known(scores).items()}
    console.print(record_table(shown))
