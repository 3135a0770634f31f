"""The effect of each part of the default settings: variations of them, one at a time, on labelled sets.

``python -m bench.ablation --data DIR --seeds 0,1,2 --only losses,encoders``

The number of classes is given. Nothing else of the labels is used before the scores are computed, from the final
state. ``--only`` selects groups of variations; the default always runs too. The page is written after each set. Rows
of earlier runs are reused with ``--cases``, and what they have is not run again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench._frame.arguments import add_data, add_only, add_seeds, parsed, parser_of
from bench._frame.conditions import conditions
from bench._frame.labelled import labelled_files
from bench._frame.page import write_page
from bench._frame.rows import RowLog, read_rows
from bench.ablation.runs import runs
from bench.ablation.tables import tables
from bench.ablation.variations import GROUPS, variations

if TYPE_CHECKING:
    import argparse

    from bench._frame.rows import Row

__all__ = ["main"]

NOTES = """\
Means over seeds, at the true K. The inputs of training are made once, with seed 0: seeds differ in weights,
mini-batches and final clusters. `two MLPs`: the graph view's encoder sees single cells, the losses keep their graph.
`two GCNs`: the first view's input is propagated over the graph. That is a GCN of one layer, or of two layers with
nothing between them. `Z`: clusters of the refined embedding. Labels of tissues are not smoothed. The `.jsonl` file of
the same name has the rows of all runs."""


def _write(rows: list[Row], args: argparse.Namespace) -> None:
    at = conditions(commits=[row["commit"] for row in rows])
    body = [*NOTES.splitlines(), *tables(rows)]
    write_page(args.out, "Ablation", args.command, at, body)


def _reused(paths: list[Path]) -> list[Row]:
    """Return the rows of earlier runs, each once, in the order of the variations."""
    order = {one.name: number for number, one in enumerate(variations(list(GROUPS)))}
    rows = {}
    for path in paths:
        for row in read_rows(path):
            if row["variation"] not in order:
                message = (
                    "--cases must have variations of this version; "
                    f"{path} has the variation {row['variation']!r}. Run it again."
                )
                raise SystemExit(message)
            rows[row["dataset"], row["seed"], row["variation"]] = row
    return sorted(rows.values(), key=lambda row: order[row["variation"]])


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of("bench.ablation", __doc__)
    add_data(parser)
    add_seeds(parser, [0, 1, 2])
    add_only(parser, GROUPS, "groups")
    parser.add_argument("--cases", action="append", default=[], type=Path, help="rows to reuse")
    return parsed(parser, arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run all variations and write the tables and their rows."""
    args = _arguments(arguments)
    chosen, rows = variations(args.only), _reused(args.cases)
    done = {(row["dataset"], row["seed"], row["variation"]) for row in rows}
    files = labelled_files(args.data, args.sets)
    with RowLog(args.out, rows) as log:
        for path in files:
            for row in runs(path, chosen, args.seeds, done):
                rows.append(row)
                log.append(row)
                print(f"{row['dataset']} {row['seed']} {row['variation']}: ARI {row['ari']:.3f}")
            _write(rows, args)
    print("\n".join(tables(rows)))


if __name__ == "__main__":
    main()
