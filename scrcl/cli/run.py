"""Commands that cluster and score: run, evaluate, demo."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrcl.cli.app import (
    BatchKey,
    Config,
    Device,
    FinishedOut,
    Format,
    From,
    Inputs,
    Join,
    Json,
    KeepX,
    Knn,
    Layer,
    Memory,
    NClusters,
    Out,
    Quiet,
    Recall,
    Restart,
    SampleKey,
    Seed,
    Settings,
    Spatial,
    Until,
    app,
)
from scrcl.cli.resolve import number, resolved
from scrcl.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["demo", "evaluate", "run"]


@app.command()
def run(
    context: typer.Context,
    inputs: Inputs,
    out: Out,
    n_clusters: NClusters = None,
    seed: Seed = None,
    memory: Memory = None,
    device: Device = None,
    layer: Layer = None,
    join: Join = None,
    batch_key: BatchKey = None,
    spatial: Spatial = None,
    sample_key: SampleKey = None,
    knn: Knn = None,
    recall: Recall = None,
    fmt: Format = None,
    keep_x: KeepX = None,
    config: Config = None,
    settings: Settings = None,
    start: From = None,
    until: Until = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a dask scheduler whose workers read the input."),
    ] = None,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Cluster the cells of INPUT: embedding, clusters, markers and a report in OUT.

    The same command again resumes a run that was interrupted.
    """
    asked = resolved(
        config,
        settings,
        n_clusters=n_clusters,
        knn=knn,
        recall=recall,
        seed=seed,
        memory=memory,
        device=device,
        layer=layer,
        join=join,
        batch_key=batch_key,
        spatial=spatial,
        sample_key=sample_key,
        format=fmt,
        keep_x=keep_x,
    )
    with _client(scheduler) as client:
        _run_and_show(
            inputs,
            out,
            asked,
            restart=restart,
            quiet=quiet,
            start=start,
            until=until,
            client=client,
            interruption=context.obj,
        )


@app.command()
def evaluate(
    out: FinishedOut,
    labels: Annotated[str, typer.Option(help="Column of obs that holds the labels.")],
    as_json: Json = False,
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
    context: typer.Context,
    out: Out,
    n_clusters: Annotated[str, typer.Option(help="A number, or auto.")] = "auto",
    seed: Seed = 0,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Cluster the 700 PBMC that come with scanpy, and compare with their published labels."""
    from scrcl.cli.render import console, info_table
    from scrcl.engine.demo import LABELS, demo_path
    from scrcl.engine.evaluate import evaluate_run
    from scrcl.engine.load_config import load_config

    overrides = {"n_clusters": number(n_clusters), "seed": seed, "layer": "raw"}
    led = _run_and_show(
        [demo_path()],
        out,
        load_config(overrides=overrides),
        restart=restart,
        quiet=quiet,
        interruption=context.obj,
    )
    if not led:
        return
    console.print(f"\nagreement with {LABELS}:")
    console.print(info_table(_rounded(evaluate_run(out, LABELS))))


@contextmanager
def _client(scheduler: str | None) -> Iterator[Any]:
    """Yield a client of the dask scheduler at an address; None without one."""
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        message = "--scheduler must have dask's distributed; it is not installed. Install scrcl[distributed]."
        raise MissingDependencyError(message) from None
    try:
        client: Any = Client(scheduler, timeout="10s")  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, ValueError) as error:
        message = f"--scheduler must be the address of a dask scheduler; got {scheduler} ({error})."
        raise InputError(message) from None
    with client:
        yield client


def _run_and_show(
    inputs: list[Path], out: Path, config: Any, *, restart: bool, quiet: bool, **how: Any
) -> bool:
    """Run, and show what came out; False on a rank that only trained along."""
    from scrcl._progress import Silent
    from scrcl.cli.render import clusters_table, console, reporter_for, stages_table
    from scrcl.engine.run import run_files
    from scrcl.train.ranks import Ranks

    how |= {"restart": restart, "ranks": Ranks.from_environment()}
    if not how["ranks"].is_first:
        run_files(inputs, out, config, **how)
        return False
    if quiet:
        result = run_files(inputs, out, config, reporter=Silent(), **how)
    else:
        with reporter_for(console) as reporter:
            result = run_files(inputs, out, config, reporter=reporter, **how)
        console.print()
        console.print(stages_table(result.stages))
    console.print()
    if result.result_path is None:
        where = f"{out} is ready up to {result.stages[-1]['name']}; without --until it goes on."
    else:
        console.print(clusters_table(result.clusters))
        where = f"\nresult  {result.result_path}\nreport  {result.report_path}"
    console.print(where, soft_wrap=True, markup=False)
    return True


def _rounded(scores: dict[str, Any]) -> dict[str, Any]:
    return {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in scores.items()}
