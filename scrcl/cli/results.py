"""Commands on finished runs: rename."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scrcl.cli.app import FinishedOut, Quiet, app

__all__ = ["rename"]

Moved = Annotated[
    list[Path] | None,
    typer.Option(
        "--input",
        help="Where the input of the run is now, if it was moved.",
        rich_help_panel="Input",
    ),
]


@app.command()
def rename(
    out: FinishedOut,
    names: Annotated[Path, typer.Argument(help="CSV file with the columns cluster and name.")],
    inputs: Moved = None,
    quiet: Quiet = False,
) -> None:
    """Name clusters of the finished run in OUT by a CSV file with the columns cluster and name.

    Names stay when stages are redone: a cluster that is found again has the name that most of its cells had.
    """
    from scrcl.cli.render import clusters_table, console, reporting
    from scrcl.engine.rename import rename as rename_clusters

    with reporting(quiet) as reporter:
        result = rename_clusters(out, names, inputs=inputs or (), reporter=reporter)
    console.print()
    console.print(clusters_table(result.clusters))
    console.print(
        f"\nresult  {result.result_path}\nreport  {result.report_path}",
        soft_wrap=True,
        markup=False,
    )
