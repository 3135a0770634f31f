"""Commands on data: describe, plan, convert, simulate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrcl._sizes import format_bytes
from scrcl.cli.app import Inputs, Json, Quiet, Until, app
from scrcl.cli.options import Given, with_config, with_settings
from scrcl.cli.texts import as_typed
from scrcl.engine.config import RunConfig
from scrcl.engine.simulate import SimulateConfig
from scrcl.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl._progress import Reporter
    from scrcl.engine.convert import WrittenStore
    from scrcl.engine.plan import Plan

__all__ = ["convert", "describe", "plan", "simulate"]

_NOT_IN_A_PLAN = ("seed", "format", "keep_x")
Store = Annotated[
    Path,
    typer.Option(
        "-o", "--out", help="Store to write, for example atlas.zarr.", rich_help_panel="Output"
    ),
]


@app.command("info", hidden=True)
@app.command()
@with_settings(only=["layer"])
def describe(inputs: Inputs, given: Given, as_json: Json = False) -> None:
    """Describe INPUTS: shape, density, kind of values, chunks, estimated sizes."""
    from scrcl.cli.render import console
    from scrcl.cli.tables import record_table
    from scrcl.engine.describe import describe as describe_inputs

    described = asdict(describe_inputs(inputs, **given))
    if as_json:
        typer.echo(json.dumps(described))
    else:
        console.print(record_table(described))


@app.command()
@with_config(but=_NOT_IN_A_PLAN)
def plan(inputs: Inputs, config: RunConfig, until: Until = None, as_json: Json = False) -> None:
    """Estimate memory, disk, bytes read and time of a run of INPUTS, stage by stage.

    Reads only the header of the input, and the annotations of cells that settings name. Exit code 2 if the
    memory is too small. The first run after an installation takes longer: it compiles its loops.
    """
    from scrcl.cli.render import console, say
    from scrcl.cli.tables import plan_table
    from scrcl.engine.api import plan as plan_run

    planned = plan_run(inputs, config=config, until=until)
    if as_json:
        typer.echo(json.dumps(planned.to_json()))
    else:
        console.print(plan_table(planned.stages))
        say(f"\n{_reading(planned)}")
        for note in planned.notes:
            say(f"note: {as_typed(note)}")
    if planned.refusal is not None:
        raise BudgetError(planned.refusal)


def _reading(planned: Plan) -> str:
    """Return how the input is read with the memory that was given, and with the least."""
    least = f"{planned.least_bytes // 10**6} MB would do, with one block at a time."
    if planned.refusal is not None:
        return least
    memory = format_bytes(planned.memory_bytes)
    blocks = "one block" if planned.n_workers == 1 else f"{planned.n_workers} blocks"
    text = f"Reads {blocks} at a time (memory {memory}, device {planned.device})."
    return text if planned.n_workers == 1 else f"{text} {least}"


@app.command()
@with_settings(only=["layer", "join"])
def convert(
    inputs: Inputs,
    out: Store,
    given: Given,
    order: Annotated[
        str | None,
        typer.Option(
            help="Which rows, in which order: a file of row numbers or names of cells, the folder of a run of the same "
            "cells, or a column of obs to sort by.",
            rich_help_panel="Output",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write INPUTS as one sharded Zarr v3 store, which AnnData reads and a run streams fastest.

    The same command resumes an interrupted conversion.
    """
    from scrcl.engine.convert import convert as convert_inputs

    _write(
        lambda reporter: convert_inputs(inputs, out, order=order, reporter=reporter, **given), quiet
    )


@app.command()
@with_settings(SimulateConfig())
def simulate(out: Store, given: Given, quiet: Quiet = False) -> None:
    """Write a labelled atlas of any size, with invented cell types or types of real cells, as a store."""
    from scrcl.engine.simulate import simulate as write_atlas

    _write(lambda reporter: write_atlas(out, reporter=reporter, **given), quiet)


def _write(write: Callable[[Reporter], WrittenStore], quiet: bool) -> None:
    from scrcl.cli.render import console, reporting
    from scrcl.cli.tables import record_table

    with reporting(quiet) as reporter:
        written = write(reporter)
    console.print(record_table(asdict(written)))
