"""Pages whose rows come from each labelled set and each seed in turn."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from bench._frame.labelled import labelled_files, read_labelled
from bench._frame.page import write_results
from bench._frame.rows import logged

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from bench._frame.labelled import Labelled
    from bench._frame.rows import Row

__all__ = ["write_by_set"]


def write_by_set(
    args: argparse.Namespace,
    title: str,
    notes: str,
    of_set: Callable[[Labelled, int, argparse.Namespace], Iterator[Row]],
    table_of: Callable[[list[Row]], list[str]],
    *,
    spatial: bool | None = None,
) -> None:
    """Measure each set with each seed, and write and print the page: notes and a table.

    Parameters
    ----------
    notes
        With places for ``seeds`` and ``settings``.
    spatial
        Only sets with coordinates, or only those without; None for all.
    """
    cases = product(labelled_files(args.data, args.sets, spatial=spatial), args.seeds)
    found = (row for path, seed in cases for row in of_set(read_labelled(path), seed, args))
    rows = logged(args.out, found)
    settings = f"scrcl ran with {', '.join(args.set)}." if args.set else ""
    body = [*notes.format(seeds=args.seeds, settings=settings).splitlines(), "", *table_of(rows)]
    write_results(args, title, body)
    print("\n".join(body))
