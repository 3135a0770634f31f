"""The first lines of a call: what is read, where results go, and the time and memory that may take."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from scrcl import __version__
from scrcl._pace import format_seconds
from scrcl._sizes import format_bytes
from scrcl.engine.device import resolve_device
from scrcl.engine.disk import note_on_room
from scrcl.io.arrays import cores

if TYPE_CHECKING:
    from scrcl._contract import Shape
    from scrcl.engine.context import Context

__all__ = ["announce"]


def announce(context: Context, shape: Shape) -> None:
    """Report what begins, with the estimates of the stages that are left, and warn of a disk that may become full.

    Nothing is reported if all stages are finished.
    """
    out, config, ranks = context.folder.path, context.config, context.ranks
    left = [
        stage.estimate(shape, config)
        for stage in context.stages
        if context.folder.finished(stage.name) is None
    ]
    if not left:
        return
    seconds = sum(each.all_seconds(context.budget.n_threads) for each in left)
    peak = max(each.peak_bytes(context.budget.n_workers) for each in left)
    who = "1 process" if ranks.size == 1 else f"{ranks.size} processes"
    context.reporter.run_started(
        f"scrcl {__version__} on {platform.node()}: {shape.n_cells:,} cells, {shape.n_vars:,} genes, into "
        f"{out.absolute()}; device {resolve_device(config.device, ranks.local)}, {cores()} cores, {who}"
    )
    context.reporter.run_started(
        f"expected: about {format_seconds(seconds)}, peak memory {format_bytes(peak)} of "
        f"{format_bytes(config.memory)}"
    )
    note = note_on_room(out, sum(each.disk_bytes for each in left))
    if note is not None:
        context.reporter.note(note)
