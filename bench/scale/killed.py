"""Runs killed with SIGKILL in every stage and in the middle of training, against an uninterrupted one.

``python -m bench.scale.killed cells.h5ad --n-clusters 10 --moments 20``

One run is killed several times: at the end of each stage, just before its folder gets its name, and once in training
after a checkpoint. Then it is resumed to the end. With ``--moments N`` the command line is killed N times instead, each
time in a new folder at a random moment of the time that an uninterrupted run takes, and resumed by the same command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_settings, parsed, parser_of, words
from bench._frame.conditions import stamp
from bench._frame.page import table, write_results
from bench._frame.process import bench_command, scrcl_command
from bench._frame.rows import Row, write_rows

if TYPE_CHECKING:
    from scrcl import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.stage import Record, Stage

__all__ = ["kill_at_random", "kill_everywhere", "main"]

IN_TRAINING = "in training"
COMPARED = (
    "cluster/labels.npy", "embed/embedding.npy", "embed/refined.npy", "train/model.pt",
    "train/history.json",
)  # fmt: skip


def kill_everywhere(cells: Path, folder: Path, config: RunConfig) -> dict[str, bool]:
    """Return, for each file that results depend on, whether it has the same bytes."""
    from scrcl.engine.stages import STAGES

    whole, killed, settings = folder / "whole", folder / "killed", folder / "run.toml"
    settings.write_text(config.to_toml(), encoding="utf-8")
    runs.run(cells, whole, config)
    names = [stage.name for stage in STAGES]
    training = names.index("train")
    places = ",".join([*names[:training], IN_TRAINING, *names[training:]])
    command = bench_command(
        "scale.killed", cells, "--kill", places, "--into", killed, "--settings", settings
    )
    subprocess.run(command, check=True)
    runs.run(cells, killed, config)
    return runs.same_files(whole, killed, COMPARED)


def kill_at_random(
    cells: Path,
    folder: Path,
    config: RunConfig,
    *,
    n_moments: int,
    seed: int = 0,
    warm_up: bool = True,
) -> list[dict[str, Any]]:
    """Return, for each moment, its second, the progress of the run, and which files are the same.

    A run that ends before its moment does not count. Another moment is drawn, within the seconds that it took.
    """
    settings = folder / "run.toml"
    settings.write_text(config.to_toml(), encoding="utf-8")
    whole, killed = folder / "whole", folder / "killed"
    if warm_up:  # so that compiled code is cached
        _run(cells, folder / "warm", settings)
    start = time.perf_counter()
    _run(cells, whole, settings)
    longest = time.perf_counter() - start
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < n_moments:
        second, start = float(rng.uniform(0, longest)), time.perf_counter()
        if _run(cells, killed, settings, kill_after_s=second) == -signal.SIGKILL:
            row = {"second": second, "after": _progress(killed)}
            _run(cells, killed, settings)
            rows.append(row | {"same": runs.same_files(whole, killed, COMPARED)})
        else:
            longest = time.perf_counter() - start
        shutil.rmtree(killed, ignore_errors=True)
    return sorted(rows, key=lambda row: row["second"])


def _run(cells: Path, out: Path, settings: Path, kill_after_s: float | None = None) -> int:
    """Run the command line until it ends or is killed; returns its exit code."""
    command = scrcl_command("run", cells, "-o", out, "--quiet", "--config", settings)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        code = process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return code


def _progress(out: Path) -> str:
    """Return the last stage that was finished, and the last step that was saved."""
    stages = runs.manifest(out)["stages"] if (out / "run.json").exists() else []
    last = stages[-1]["name"] if stages else "the start"
    saved = sorted(path.stem for path in (out / "checkpoints").glob("step-*.ckpt"))
    in_training = last == "inputs" and saved
    return f"{last}, step {int(saved[-1].removeprefix('step-'))}" if in_training else last


def _kill_in(cells: Path, out: Path, config: RunConfig, places: list[str]) -> None:
    """Kill a run in each place in turn. Each run is a fork of this process, which has loaded the large libraries."""
    import anndata  # noqa: F401
    import igraph  # noqa: F401
    import sklearn.cluster  # noqa: F401
    import torch  # noqa: F401

    for where in places:
        child = os.fork()
        if child == 0:
            try:
                _run_until_killed(cells, out, config, where)
            finally:  # never back into the loop
                traceback.print_exc()
                os._exit(1)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended != -signal.SIGKILL:
            message = f"the run must be killed in {where}; got exit code {ended}."
            raise RuntimeError(message)


def _run_until_killed(cells: Path, out: Path, config: RunConfig, where: str) -> None:
    from scrcl._progress import Silent
    from scrcl.engine.run import run_files
    from scrcl.engine.stages import STAGES

    class DiesInTraining(Silent):
        def metrics(self, step: int, values: dict[str, float]) -> None:
            del values
            if where == IN_TRAINING and step > config.train.checkpoint_every:
                os.kill(os.getpid(), signal.SIGKILL)

    stages = tuple(_dying(stage) if stage.name == where else stage for stage in STAGES)
    run_files([cells], out, config, reporter=DiesInTraining(), stages=stages)


def _dying(stage: Stage[Any]) -> Stage[Any]:
    """Return the same stage, which kills its process once its work is done."""

    def run(_: Stage[Any], context: Context, folder: Path) -> Record:
        stage.run(context, folder)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    kind: type[Stage[Any]] = type("Dying", (type(stage),), {"run": run})
    return kind()


def _stages_lines(same: dict[str, bool]) -> list[str]:
    listed = [f"- {name}: {_outcome(is_same)}" for name, is_same in same.items()]
    return ["Files of the resumed run, compared with those of an uninterrupted one:", "", *listed]


def _moments_lines(rows: list[Row]) -> list[str]:
    n_same = sum(all(row["same"].values()) for row in rows)
    lines = []
    for row in rows:
        other = [name for name, is_same in row["same"].items() if not is_same]
        outcome = f"{_outcome(False)}: {', '.join(other)}" if other else _outcome(True)
        lines.append([f"{row['second']:.1f}", row["after"], outcome])
    notes = (
        f"{n_same} of {len(rows)} runs gave the same files as an uninterrupted one "
        f"({', '.join(COMPARED)})."
    )
    return [notes, "", *table(["second", "last finished", "resumed run"], lines)]


def _outcome(is_same: bool) -> str:
    return "the same to the last bit" if is_same else "DIFFERENT"


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("bench.scale.killed", __doc__)
    add_settings(parser)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--n-clusters", type=int, default=10)
    parser.add_argument("--moments", type=int, default=0, help="kill at so many random moments")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    # Internal: the run that is killed is started with these.
    parser.add_argument("--kill", type=words, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=Path, help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Compare a killed run with an uninterrupted one, or be the run that is killed."""
    from scrcl.engine.load_config import load_config

    args = parsed(_parser(), arguments)
    fields = {} if args.settings else {"n_clusters": args.n_clusters}
    config = load_config(args.settings, settings=args.set, overrides=fields)
    if args.kill is not None:
        _kill_in(args.cells, args.into, config, args.kill)
        return
    with tempfile.TemporaryDirectory(prefix="scrcl-killed-") as name:
        if args.moments:
            rows = kill_at_random(
                args.cells, Path(name), config, n_moments=args.moments, seed=args.seed
            )
            title, lines = f"Killed at {len(rows)} random moments", _moments_lines(rows)
        else:
            same = kill_everywhere(args.cells, Path(name), config)
            rows = [{"file": file, "same": is_same} for file, is_same in same.items()]
            title, lines = "Killed in every stage", _stages_lines(same)
    write_rows(args.out, [{**stamp(), **row} for row in rows])
    print(write_results(args, f"{title} and resumed", lines))


if __name__ == "__main__":
    main()
