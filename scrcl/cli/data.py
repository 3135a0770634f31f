"""Commands about data: info, plan, convert, simulate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrcl.cli.app import (
    BatchKey,
    Config,
    Device,
    Inputs,
    Join,
    Json,
    Knn,
    Layer,
    Memory,
    NClusters,
    Quiet,
    Recall,
    SampleKey,
    Settings,
    Spatial,
    Until,
    app,
)
from scrcl.cli.resolve import resolved
from scrcl.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["convert", "info", "plan", "simulate"]

Store = Annotated[Path, typer.Option("-o", "--out", help="Store to write, as atlas.zarr.")]


@app.command()
def info(
    inputs: Inputs,
    layer: Layer = None,
    as_json: Json = False,
) -> None:
    """Say what INPUT holds: shape, density, dtype, counts or not, chunks, estimated sizes."""
    from scrcl.cli.render import console, info_table
    from scrcl.engine.describe import describe_input, for_people

    described = describe_input(inputs, layer=layer)
    if as_json:
        typer.echo(json.dumps(described))
    else:
        console.print(info_table(for_people(described)))


@app.command()
def plan(
    inputs: Inputs,
    n_clusters: NClusters = None,
    memory: Memory = None,
    device: Device = None,
    layer: Layer = None,
    join: Join = None,
    batch_key: BatchKey = None,
    spatial: Spatial = None,
    sample_key: SampleKey = None,
    knn: Knn = None,
    recall: Recall = None,
    config: Config = None,
    settings: Settings = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Say what a run of INPUT would take, stage by stage: memory, disk, bytes read, time.

    Only the header of the input is read, and of the annotations what settings name. Exit code 2 where
    the memory would not do.
    """
    from scrcl._sizes import format_bytes
    from scrcl.cli.render import console, plan_table
    from scrcl.engine.plan import plan_run

    asked = resolved(
        config,
        settings,
        n_clusters=n_clusters,
        knn=knn,
        recall=recall,
        memory=memory,
        device=device,
        layer=layer,
        join=join,
        batch_key=batch_key,
        spatial=spatial,
        sample_key=sample_key,
    )
    planned = plan_run(inputs, asked, until=until)
    if as_json:
        typer.echo(json.dumps(planned.to_json()))
    else:
        console.print(plan_table(planned.stages))
        console.print(
            f"\n{planned.n_workers} blocks in flight on {planned.device}; "
            f"{format_bytes(planned.memory_bytes)} given, {format_bytes(planned.least_bytes)} would do."
        )
    if planned.refusal is not None:
        raise BudgetError(planned.refusal)


@app.command()
def convert(
    inputs: Inputs,
    out: Store,
    layer: Layer = None,
    join: Join = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="Order of the rows: a file of row numbers, or a column of obs to sort by."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write INPUT as one sharded Zarr v3 store, which AnnData reads and a run streams fastest.

    The same command again resumes a conversion that was interrupted.
    """
    from scrcl.engine.convert import convert as convert_inputs

    _write_store(
        lambda reporter: convert_inputs(
            inputs, out, layer=layer, join=join or "inner", order=order, reporter=reporter
        ),
        out,
        quiet=quiet,
    )


@app.command()
def simulate(
    out: Store,
    cells: Annotated[int, typer.Option(help="Cells.")] = 10_000,
    genes: Annotated[int, typer.Option(help="Genes of invented types.")] = 20_000,
    types: Annotated[int, typer.Option(help="Invented types.")] = 40,
    samples: Annotated[int, typer.Option(help="Samples, each with effects of its own.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 0,
    spatial: Annotated[
        bool, typer.Option("--spatial", help="Lay the cells out in tissue domains.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Labelled cells whose types are the templates.")
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Column of obs of --from that holds them.")
    ] = "cell_type",
    layer: Annotated[str | None, typer.Option(help="Layer of --from that holds counts.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write a labelled atlas of any size, of invented types or from real ones, as a store."""
    from scrcl.engine.simulate import simulate as write_atlas

    _write_store(
        lambda reporter: write_atlas(
            out,
            n_cells=cells,
            n_genes=genes,
            n_types=types,
            n_samples=samples,
            seed=seed,
            spatial=spatial,
            source=source,
            labels=labels,
            layer=layer,
            reporter=reporter,
        ),
        out,
        quiet=quiet,
    )


def _write_store(write: Callable[[Any], dict[str, Any]], out: Path, *, quiet: bool) -> None:
    from scrcl._progress import Silent
    from scrcl.cli.render import console, info_table, reporter_for
    from scrcl.engine.describe import for_people

    if quiet:
        record = write(Silent())
    else:
        with reporter_for(console) as reporter:
            record = write(reporter)
    console.print(info_table({**for_people(record), "store": str(out)}))
