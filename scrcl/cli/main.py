"""The commands and their exit codes: 0 done, 2 bad input (one line), 130 interrupted."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from scrcl import __version__
from scrcl.errors import ScrclError

__all__ = ["app", "main"]

app = typer.Typer(
    name="scrcl",
    help="Cell types from single-cell atlases that do not fit in memory.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

BAD_INPUT, INTERRUPTED = 2, 130

Inputs = Annotated[
    list[Path],
    typer.Argument(
        help=".h5ad, AnnData .zarr, 10x .h5, or a matrix.mtx folder; several are samples."
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", help="Output folder.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random stream [default: 0].")]
Memory = Annotated[str | None, typer.Option(help="Peak memory, as 2GB or 512MiB [default: 4GB].")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [default: auto].")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, as train.lr=1e-3; may be repeated.")
]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]
Restart = Annotated[bool, typer.Option("--restart", help="Start over in an OUT that holds a run.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")]


@app.command()
def run(
    inputs: Inputs,
    out: Out,
    n_clusters: Annotated[
        str | None, typer.Option(help="A number, or auto [default: auto].")
    ] = None,
    seed: Seed = None,
    memory: Memory = None,
    device: Device = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer to read instead of X; `raw` for raw.X.")
    ] = None,
    spatial: Annotated[
        bool | None, typer.Option("--spatial", help="Cell graph on obsm['spatial'].")
    ] = None,
    fmt: Annotated[
        str | None, typer.Option("--format", help="h5ad or zarr [default: h5ad].")
    ] = None,
    keep_x: Annotated[bool | None, typer.Option("--keep-x", help="Copy X into the result.")] = None,
    config: Config = None,
    settings: Settings = None,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Cluster the cells of INPUT: embedding, clusters, markers and a report in OUT.

    The same command again resumes a run that was interrupted.
    """
    from scrcl.engine.config import load_config

    given = {
        "n_clusters": _number(n_clusters),
        "seed": seed,
        "memory": memory,
        "device": device,
        "layer": layer,
        "spatial": spatial,
        "format": fmt,
        "keep_x": keep_x,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    resolved = load_config(config, settings=settings or (), overrides=overrides)
    _run_and_show(inputs, out, resolved, restart=restart, quiet=quiet)


@app.command()
def evaluate(
    out: Annotated[Path, typer.Argument(help="Output folder of a finished run.")],
    labels: Annotated[str, typer.Option(help="Column of obs that holds the labels.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score the clusters of a run against labels: ACC (Hungarian), NMI, ARI, macro F1."""
    from scrcl.cli.render import console, info_table
    from scrcl.engine.evaluate import evaluate_run

    scores = evaluate_run(out, labels)
    if as_json:
        typer.echo(json.dumps(scores))
    else:
        console.print(info_table(_rounded(scores)))


@app.command()
def demo(
    out: Out,
    n_clusters: Annotated[str, typer.Option(help="A number, or auto.")] = "auto",
    seed: Seed = 0,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Cluster the 700 PBMC that come with scanpy, and compare with their published labels."""
    from scrcl.cli.render import console, info_table
    from scrcl.engine.config import load_config
    from scrcl.engine.demo import LABELS, demo_path
    from scrcl.engine.evaluate import evaluate_run

    overrides = {"n_clusters": _number(n_clusters), "seed": seed, "layer": "raw"}
    _run_and_show(
        [demo_path()], out, load_config(overrides=overrides), restart=restart, quiet=quiet
    )
    console.print(f"\nagreement with {LABELS}:")
    console.print(info_table(_rounded(evaluate_run(out, LABELS))))


@app.command()
def info(
    inputs: Inputs,
    layer: Annotated[str | None, typer.Option(help="Layer to look at; `raw` for raw.X.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what INPUT holds: shape, density, dtype, counts or not, chunks, estimated sizes."""
    from scrcl.cli.render import console, info_table
    from scrcl.engine.describe import describe_input, for_people

    described = describe_input(inputs, layer=layer)
    if as_json:
        typer.echo(json.dumps(described))
    else:
        console.print(info_table(for_people(described)))


@app.callback(invoke_without_command=True)
def _no_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; deliberate errors become one line and exit code 2."""
    # OpenMP's threads spin while they wait: on cores shared with other work a training step took
    # fifty times as long. A short spin costs nothing when the cores are free. Read when torch is
    # loaded, so it must be set before.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    _log_warnings_once()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
    except ScrclError as error:
        _fail(str(error), BAD_INPUT)
    except TyperException as error:  # an option or argument that is wrong, missing or unknown
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        _fail(said, BAD_INPUT)
    if code == INTERRUPTED:  # what typer makes of Ctrl-C, and SIGTERM by the line above
        _fail("interrupted; the same command goes on from here.", INTERRUPTED)
    sys.exit(code or 0)


def _run_and_show(
    inputs: list[Path], out: Path, config: Any, *, restart: bool, quiet: bool
) -> None:
    from scrcl._progress import Silent
    from scrcl.cli.render import clusters_table, console, reporter_for, stages_table
    from scrcl.engine.pipeline import run_pipeline

    if quiet:
        result = run_pipeline(inputs, out, config, reporter=Silent(), restart=restart)
    else:
        with reporter_for(console) as reporter:
            result = run_pipeline(inputs, out, config, reporter=reporter, restart=restart)
        console.print()
        console.print(stages_table(result.stages))
    console.print()
    console.print(clusters_table(result.clusters))
    where = f"\nresult  {result.result_path}\nreport  {result.report_path}"
    console.print(where, soft_wrap=True, markup=False)


def _number(text: str | None) -> int | str | None:
    """Return digits as a number; the configuration refuses what is neither that nor `auto`."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]+", text) else text


def _rounded(scores: dict[str, Any]) -> dict[str, Any]:
    return {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in scores.items()}


def _log_warnings_once() -> None:
    """Send the library's warnings to stderr, each of them once: inputs are opened several times."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text in said:
            return False
        said.add(text)
        return True

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    handler.addFilter(is_new)
    logger = logging.getLogger("scrcl")
    logger.handlers = [handler]
    logger.propagate = False


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)
