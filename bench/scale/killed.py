"""Runs killed with SIGKILL in every stage, and in the middle of training, against an unbroken one.

``python -m bench.scale.killed cells.h5ad --n-clusters 10 --moments 20 --out bench/results/NAME.md``

One output folder is killed again and again, each time at the end of the next stage, just before that stage's
folder gets its name, and once in training after a checkpoint; then it is resumed to the end. With
``--moments N`` the command line itself is killed N times instead, each in a folder of its own, at random
moments of the seconds that an unbroken run takes, and resumed by the same command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.process import commit

if TYPE_CHECKING:
    from scrcl.engine.config import RunConfig
    from scrcl.engine.stage import Run

__all__ = ["COMPARED", "IN_TRAINING", "kill_at_random", "kill_everywhere"]

IN_TRAINING = "in training"
COMPARED = (
    "cluster/labels.npy", "embed/embedding.npy", "embed/refined.npy", "train/model.pt",
    "train/history.json",
)  # fmt: skip


def kill_everywhere(cells: Path, folder: Path, config: RunConfig) -> dict[str, bool]:
    """Return, for each file that decides a result, whether it is the same to the last bit."""
    from scrcl.engine.pipeline import STAGES, run_pipeline

    unbroken, killed, settings = folder / "unbroken", folder / "killed", folder / "run.toml"
    settings.write_text(config.to_toml(), encoding="utf-8")
    run_pipeline([cells], unbroken, config)
    names = [stage.name for stage in STAGES]
    training = names.index("train")
    for where in [*names[:training], IN_TRAINING, *names[training:]]:
        command = [sys.executable, "-m", "bench.scale.killed", str(cells), "--kill", where,
                   "--into", str(killed), "--settings", str(settings)]  # fmt: skip
        ended = subprocess.run(command, check=False).returncode
        if ended != -signal.SIGKILL:
            message = f"the run must die in {where}; it ended with {ended}"
            raise RuntimeError(message)
    run_pipeline([cells], killed, config)
    return _same(unbroken, killed)


def kill_at_random(
    cells: Path, folder: Path, config: RunConfig, *, n_moments: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Return, for each moment, its second, how far the run had come, and which files came out the same.

    A run that ends before its moment is not one of them: another moment is drawn, of the seconds it took.
    """
    settings = folder / "run.toml"
    settings.write_text(config.to_toml(), encoding="utf-8")
    unbroken, killed = folder / "unbroken", folder / "killed"
    _run(cells, folder / "warm", settings)  # compiled code is cached by then
    start = time.perf_counter()
    _run(cells, unbroken, settings)
    longest = time.perf_counter() - start
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < n_moments:
        second, start = float(rng.uniform(0, longest)), time.perf_counter()
        if _run(cells, killed, settings, kill_after_s=second) == -signal.SIGKILL:
            row = {"second": second, "after": _came_to(killed)}
            _run(cells, killed, settings)
            rows.append(row | {"same": _same(unbroken, killed)})
        else:
            longest = time.perf_counter() - start
        shutil.rmtree(killed, ignore_errors=True)
    return sorted(rows, key=lambda row: row["second"])


def _run(cells: Path, out: Path, settings: Path, kill_after_s: float | None = None) -> int:
    """Run the command line, until it ends or is killed; returns its exit code."""
    command = [sys.executable, "-m", "scrcl", "run", str(cells), "-o", str(out), "--quiet",
               "--config", str(settings)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        code = process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return code


def _came_to(out: Path) -> str:
    """Name the last stage that was finished, and the last step that was saved."""
    from scrcl.engine.run_folder import read_manifest

    stages = read_manifest(out)["stages"] if (out / "run.json").exists() else []
    last = stages[-1]["name"] if stages else "the start"
    saved = sorted(path.stem for path in (out / "checkpoints").glob("step-*.ckpt"))
    in_training = last == "genes" and saved
    return f"{last}, step {int(saved[-1].removeprefix('step-'))}" if in_training else last


def _same(unbroken: Path, killed: Path) -> dict[str, bool]:
    return {
        name: (unbroken / "stages" / name).read_bytes() == (killed / "stages" / name).read_bytes()
        for name in COMPARED
    }


def _run_until_killed(cells: Path, out: Path, config: RunConfig, where: str) -> None:
    from scrcl._progress import Silent
    from scrcl.engine import pipeline
    from scrcl.engine.stage import Stage

    def dying(stage: Stage) -> Stage:
        def fill(run: Run, folder: Path) -> dict[str, Any]:
            stage.fill(run, folder)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        return Stage(stage.name, fill) if stage.name == where else stage

    class DiesInTraining(Silent):
        def metrics(self, step: int, values: dict[str, float]) -> None:
            del values
            if where == IN_TRAINING and step > config.train.checkpoint_every:
                os.kill(os.getpid(), signal.SIGKILL)

    stages = tuple(dying(stage) for stage in pipeline.STAGES)
    pipeline.run_pipeline([cells], out, config, reporter=DiesInTraining(), stages=stages)


def _stages_text(same: dict[str, bool]) -> str:
    listed = [f"- {name}: {_told(is_same)}" for name, is_same in same.items()]
    said = "Files of the resumed run against those of an unbroken one:"
    return "\n".join([*_head("in every stage"), said, "", *listed, ""])


def _moments_text(rows: list[dict[str, Any]]) -> str:
    n_same = sum(all(row["same"].values()) for row in rows)
    table = ["| second | last finished | resumed run |", "|---|---|---|"]
    for row in rows:
        other = [name for name, is_same in row["same"].items() if not is_same]
        came_out = f"{_told(False)}: {', '.join(other)}" if other else _told(True)
        table.append(f"| {row['second']:.1f} | {row['after']} | {came_out} |")
    said = (
        f"{n_same} of {len(rows)} runs came out the same as an unbroken one "
        f"({', '.join(COMPARED)})."
    )
    return "\n".join([*_head(f"at {len(rows)} random moments"), said, "", *table, ""])


def _head(where: str) -> list[str]:
    return [
        f"# Killed {where} and resumed, {time.strftime('%Y-%m-%d')}",
        "",
        f"`python -m bench.scale.killed {' '.join(sys.argv[1:])}`",
        "",
        f"Commit {commit()}.",
    ]


def _told(is_same: bool) -> str:
    return "the same to the last bit" if is_same else "DIFFERENT"


def main(arguments: list[str] | None = None) -> None:
    """Compare a killed run with an unbroken one, or be the run that is killed."""
    from scrcl.engine.load_config import load_config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--n-clusters", type=int, default=10)
    parser.add_argument("--moments", type=int, default=0, help="kill at so many random moments")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--set", action="append", default=[], help="a setting, as of `scrcl run`")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kill", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    config = load_config(
        args.settings,
        settings=args.set,
        overrides={} if args.settings else {"n_clusters": args.n_clusters},
    )
    if args.kill is not None:
        _run_until_killed(args.cells, args.into, config, args.kill)
        return
    with tempfile.TemporaryDirectory(prefix="scrcl-killed-") as name:
        if args.moments:
            rows = kill_at_random(
                args.cells, Path(name), config, n_moments=args.moments, seed=args.seed
            )
            text = _moments_text(rows)
        else:
            text = _stages_text(kill_everywhere(args.cells, Path(name), config))
    print(text)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
