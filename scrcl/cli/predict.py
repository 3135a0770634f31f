"""The command that lays new cells beside a finished run: predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrcl.cli.app import (
    Device,
    FinishedOut,
    Format,
    Inputs,
    Join,
    KeepX,
    Memory,
    Out,
    Quiet,
    Restart,
    app,
)

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.run import RunResult

__all__ = ["predict"]


@app.command()
def predict(
    run: FinishedOut,
    inputs: Inputs,
    out: Out,
    memory: Memory = None,
    device: Device = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Layer to read: `X`, `raw` for raw.X, or a name [default: that of the run]."
        ),
    ] = None,
    join: Join = None,
    fmt: Format = None,
    keep_x: KeepX = None,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Lay the new cells of INPUTS beside the finished RUN: embedding, cluster and confidence of each.

    RUN is read only. The same command again goes on where it was interrupted.
    """
    from scrcl.cli.render import console, predicted_table, stages_table

    given = {
        "memory": memory,
        "device": device,
        "layer": layer,
        "join": join,
        "format": fmt,
        "keep_x": keep_x,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    result = _predict(run, inputs, out, restart=restart, quiet=quiet, **chosen)
    if not quiet:
        console.print()
        console.print(stages_table(result.stages))
    console.print()
    console.print(predicted_table(result.clusters))
    where = f"\nresult  {result.result_path}\nreport  {result.report_path}"
    console.print(where, soft_wrap=True, markup=False)


def _predict(
    run: Path, inputs: list[Path], out: Path, *, restart: bool, quiet: bool, **given: Any
) -> RunResult:
    from scrcl.cli.render import console, reporter_for
    from scrcl.engine.predict import predict_files, run_for_prediction

    opened = run_for_prediction(run, given)
    if quiet:
        return predict_files(opened, inputs, out, restart=restart)
    with reporter_for(console) as reporter:
        return predict_files(opened, inputs, out, reporter=reporter, restart=restart)
