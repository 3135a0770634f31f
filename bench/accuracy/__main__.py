"""Agreement with labels: scrcl with its defaults, and clusterings of components or of scVI's latent space.

``python -m bench.accuracy --data DIR --seeds 0,1,2,3,4``

Every method is given the number of classes, except ``pca_leiden_1``. Nothing else of the labels is used before the
scores are computed, once, from the final state. ``scrcl`` is also scored without that number. The choice that labels
would have made (``scrcl_oracle``) and published figures are in columns of their own. Sets with ``obsm["spatial"]``
are run with ``--spatial`` and have their own tables. In ``--set``, ``{k}`` stands for the number of
classes. Cases of earlier runs are reused with ``--cases``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bench._frame.arguments import (
    add_data,
    add_seeds,
    add_settings,
    choices_of,
    parsed,
    parser_of,
)
from bench._frame.conditions import conditions
from bench._frame.labelled import labelled_files, read_labelled
from bench._frame.page import write_page
from bench._frame.rows import RowLog
from bench.accuracy.cases import ORACLE, OURS, Case, read_cases, to_row
from bench.accuracy.peers import PCA_METHODS, SCVI_METHODS
from bench.accuracy.runs import run_ours, run_peers
from bench.accuracy.scvi import missing
from bench.accuracy.tables import tables
from bench.accuracy.verdict import verdict
from scrcl.cluster.names import Algorithm

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["main"]

METHODS = (*PCA_METHODS, *SCVI_METHODS, OURS, ORACLE)

NOTES = """\
Means over seeds, ± standard deviation over seeds. A rare type is found if some cluster has an F1 of at least .5 with
it; the share is over types, sets and seeds. Seconds are the median over whole processes, imports included. MB is the
largest peak of resident memory. Both include the training of scVI. The `.jsonl` file of the same name has all cases."""


def _write(cases: list[Case], args: argparse.Namespace) -> None:
    settings = [f"scrcl ran with {', '.join(args.set)}."] if args.set else []
    cases.sort(key=lambda case: (case.dataset, METHODS.index(case.method), case.seed))
    write_page(
        args.out,
        "Accuracy",
        args.command,
        conditions(commits=[case.commit for case in cases]),
        [*settings, *NOTES.splitlines(), *tables(cases), *verdict(cases)],
    )


def _reused(args: argparse.Namespace) -> list[Case]:
    """Return the cases of earlier runs, each once."""
    cases = {
        (case.dataset, case.method, case.seed): case
        for path in args.cases
        for case in read_cases(path)
    }
    for case in cases.values():
        if case.method in (OURS, ORACLE) and case.settings != args.set:
            message = (
                f"--cases must have the settings of this run ({args.set}); {case.dataset} "
                f"{case.method} has {case.settings}. Leave the file out, or give the same --set."
            )
            raise SystemExit(message)
    return list(cases.values())


def _cases(
    path: Path, args: argparse.Namespace, done: set[tuple[str, str, int]], work: Path
) -> Iterator[Case]:
    """Yield the missing cases of a set; peers that lack the same seeds share a process."""
    left = {
        method: [seed for seed in args.seeds if (path.stem, method, seed) not in done]
        for method in args.methods
    }
    if not any(left.values()):
        return
    data = read_labelled(path)
    peers = [method for method in left if method not in (OURS, ORACLE)]
    for seeds in dict.fromkeys(tuple(left[method]) for method in peers if left[method]):
        sharing = [method for method in peers if left[method] == list(seeds)]
        yield from run_peers(data, sharing, list(seeds), work=work)
    for method in (OURS, ORACLE):
        for seed in left.get(method, ()):
            yield run_ours(data, method, seed, settings=args.set, algorithms=args.algorithms)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of("bench.accuracy", __doc__)
    add_data(parser)
    add_seeds(parser, [0, 1, 2])
    add_settings(parser)
    parser.add_argument(
        "--methods",
        type=choices_of(METHODS, "methods"),
        help=f"some of {', '.join(METHODS)}; all that are installed if not given",
    )
    parser.add_argument("--cases", action="append", default=[], type=Path, help="rows to reuse")
    parser.add_argument(
        "--algorithms",
        type=choices_of(get_args(Algorithm), "algorithms"),
        default=[],
        help="other final clusterings of the same embeddings",
    )
    parser.add_argument("--work", type=Path, help="folder that keeps latent spaces of scVI")
    args = parsed(parser, arguments)
    if args.methods is None:
        args.methods = [method for method in METHODS if missing([method]) is None]
    if lacking := missing(args.methods):
        parser.error(lacking)
    return args


def main(arguments: list[str] | None = None) -> None:
    """Run all cases and write the tables and their rows."""
    args = _arguments(arguments)
    cases = _reused(args)
    done = {(case.dataset, case.method, case.seed) for case in cases}
    with (
        RowLog(args.out, map(to_row, cases)) as log,
        tempfile.TemporaryDirectory(prefix="scrcl-bench-") as scratch,
    ):
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for path in labelled_files(args.data, args.sets):
            for case in _cases(path, args, done, work):
                cases.append(case)
                log.append(to_row(case))
                print(f"{path.stem} {case.method} {case.seed}: ARI {case.ari:.3f}", flush=True)
    _write(cases, args)
    print("\n".join([*tables(cases), *verdict(cases)]))


if __name__ == "__main__":
    main()
