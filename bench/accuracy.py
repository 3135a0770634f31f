"""Accuracy on labelled sets: what others do with components or scVI's latent space, and scrcl as it comes.

``python -m bench.accuracy --data DIR --out bench/results/NAME.md --seeds 0,1,2,3,4``

Protocol (honest): the number of classes is given to every method (but ``pca_leiden_1``); nothing else of the labels is
seen before the scores are taken, once, from the final state. ``scrcl`` is scored without that number too. What labels
would have chosen (``scrcl_oracle``) and published figures are told apart. Sets with ``obsm["spatial"]`` are run
with ``--spatial`` and kept apart. Cases of earlier runs may be taken over by ``--cases``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.accuracy_cases import ORACLE, OURS, Case, read_cases, to_row
from bench.accuracy_runs import read_labelled, run_ours, run_peers
from bench.accuracy_tables import tables
from bench.accuracy_verdict import verdict
from bench.peers import PCA_METHODS, SCVI_METHODS
from bench.peers_scvi import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["METHODS", "main"]

METHODS = (*PCA_METHODS, *SCVI_METHODS, OURS, ORACLE)

SAID = """\
Means over seeds, ± deviation over them. A rare type is found where some cluster has an F1 of .5 or more with it; the
share is over types, sets and seeds. Seconds are the median of whole processes (imports count), MB the largest peak of
resident memory; those of scVI hold its training. Rows of all cases: the `.jsonl` file beside this one."""


def _report(cases: list[Case], args: argparse.Namespace, told: list[str]) -> str:
    command = f"python -m bench.accuracy {' '.join(told)}"
    commits = ", ".join(sorted({case.commit for case in cases}))
    settings = f" scrcl ran with {', '.join(args.set)}." if args.set else ""
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [f"# Accuracy, {time.strftime('%Y-%m-%d')}", "", f"`{command}`", ""]
    lines += [f"Commit {commits}; {where}.{settings}", *SAID.splitlines()]
    return "\n".join([*lines, *tables(cases), *verdict(cases), ""])


def _taken_over(args: argparse.Namespace) -> list[Case]:
    """Return the cases of earlier runs, each once."""
    cases = {
        (case.dataset, case.method, case.seed): case
        for path in args.cases
        for case in read_cases(path)
    }
    for case in cases.values():
        if case.method in (OURS, ORACLE) and case.settings != args.set:
            message = (
                f"cases must be of the settings of this run ({args.set}); {case.dataset} {case.method} "
                f"has {case.settings}. Leave the file out, or give the same --set."
            )
            raise SystemExit(message)
    return list(cases.values())


def _cases(
    path: Path, args: argparse.Namespace, done: set[tuple[str, str, int]], work: Path
) -> Iterator[Case]:
    """Yield the cases of a set that are not there yet; peers that lack the same seeds share a process."""
    left = {
        method: tuple(seed for seed in args.seeds if (path.stem, method, seed) not in done)
        for method in args.methods
    }
    if not any(left.values()):
        return
    data = read_labelled(path)
    peers = [method for method in left if method not in (OURS, ORACLE)]
    for seeds in dict.fromkeys(left[method] for method in peers if left[method]):
        sharing = [method for method in peers if left[method] == seeds]
        yield from run_peers(data, sharing, list(seeds), work=work)
    for method in (OURS, ORACLE):
        for seed in left.get(method, ()):
            yield run_ours(data, method, seed, settings=args.set)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled .h5ad files")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument(
        "--methods", help="some of " + ", ".join(METHODS) + "; all that are installed if not given"
    )
    parser.add_argument("--only", default="", help="parts of the names of the sets to run")
    parser.add_argument("--set", action="append", default=[], help="a setting of scrcl")
    parser.add_argument("--cases", action="append", default=[], type=Path, help="rows to take over")
    parser.add_argument("--work", type=Path, help="folder that keeps latent spaces of scVI")
    args = parser.parse_args(arguments)
    if args.methods is None:
        args.methods = [method for method in METHODS if missing([method]) is None]
    else:
        args.methods = [method for method in args.methods.split(",") if method]
    unknown = sorted(set(args.methods) - set(METHODS))
    if unknown:
        parser.error(f"methods must be some of {', '.join(METHODS)}; got {', '.join(unknown)}.")
    if lacking := missing(args.methods):
        parser.error(lacking)
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    return args


def main(arguments: list[str] | None = None) -> None:
    """Run all cases and write the table and its rows."""
    args = _arguments(arguments)
    cases = _taken_over(args)
    done = {(case.dataset, case.method, case.seed) for case in cases}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        args.out.with_suffix(".jsonl").open("w", encoding="utf-8") as log,
        tempfile.TemporaryDirectory(prefix="scrcl-bench-") as scratch,
    ):
        log.writelines(f"{to_row(case)}\n" for case in cases)
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for path in sorted(args.data.glob("*.h5ad")):
            if not any(part in path.stem for part in args.only.split(",")):
                continue
            for case in _cases(path, args, done, work):
                cases.append(case)
                log.write(f"{to_row(case)}\n")
                log.flush()
                print(f"{path.stem} {case.method} {case.seed}: ARI {case.ari:.3f}", flush=True)
    cases.sort(key=lambda case: (case.dataset, METHODS.index(case.method), case.seed))
    report = _report(cases, args, sys.argv[1:] if arguments is None else arguments)
    args.out.write_text(report, encoding="utf-8")
    print("\n".join([*tables(cases), *verdict(cases)]))


if __name__ == "__main__":
    main()
