"""Runs killed with SIGKILL in every stage, and in the middle of training, against an unbroken one.

``python -m bench.killed cells.h5ad --n-clusters 10 --out bench/results/NAME.md``

One output folder is killed again and again, each time at the end of the next stage, just before that stage's
folder gets its name, and once in training after a checkpoint; then it is resumed to the end.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.process import commit

if TYPE_CHECKING:
    from scrcl.engine.config import RunConfig
    from scrcl.engine.stage import Run

__all__ = ["COMPARED", "IN_TRAINING", "kill_everywhere"]

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
        command = [sys.executable, "-m", "bench.killed", str(cells), "--kill", where,
                   "--into", str(killed), "--settings", str(settings)]  # fmt: skip
        ended = subprocess.run(command, check=False).returncode
        if ended != -signal.SIGKILL:
            message = f"the run must die in {where}; it ended with {ended}"
            raise RuntimeError(message)
    run_pipeline([cells], killed, config)
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


def main(arguments: list[str] | None = None) -> None:
    """Compare a killed run with an unbroken one, or be the run that is killed."""
    from scrcl.engine.config import load_config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--n-clusters", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kill", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    config = load_config(
        args.settings, overrides={} if args.settings else {"n_clusters": args.n_clusters}
    )
    if args.kill is not None:
        _run_until_killed(args.cells, args.into, config, args.kill)
        return
    with tempfile.TemporaryDirectory(prefix="scrcl-killed-") as folder:
        same = kill_everywhere(args.cells, Path(folder), config)
    text = "\n".join(
        [
            f"# Killed in every stage and resumed, {time.strftime('%Y-%m-%d')}",
            "",
            f"`python -m bench.killed {' '.join(sys.argv[1:])}`",
            "",
            f"Commit {commit()}. Files of the resumed run against those of an unbroken one:",
            "",
            *(f"- {name}: {'the same to the last bit' if is_same else 'DIFFERENT'}"
              for name, is_same in same.items()),
            "",
        ]
    )  # fmt: skip
    print(text)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
