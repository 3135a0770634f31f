"""One run of scrcl in this process, with the CPU seconds of each stage.

``python -m bench._frame.stage_times INPUT -o OUT --memory 3GB --spatial --found FILE``

The wall clock of a busy machine says little. CPU seconds of all threads are counted around each stage.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scrcl.engine.context import Context
    from scrcl.engine.stage import Stage

__all__ = ["run_timed"]


def run_timed(
    path: Path, out: Path, *, settings: list[str], until: str | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """Run scrcl; return the name, CPU seconds, seconds, peak and estimated peak of each stage."""
    from bench._frame import runs
    from scrcl.engine import run

    engine: Any = run
    original, cpu = engine.run_stage, {}

    def timed_stage(stage: Stage[Any], context: Context) -> dict[str, Any]:
        before = time.process_time()
        entry: dict[str, Any] = original(stage, context)
        cpu[stage.name] = time.process_time() - before
        return entry

    engine.run_stage = timed_stage
    try:
        runs.run(path, out, runs.config_of(settings, **fields), until=until)
    finally:
        engine.run_stage = original
    return [
        {
            "name": entry["name"],
            "cpu_seconds": round(cpu[entry["name"]], 2),
            "seconds": entry["seconds"],
            "peak_rss_bytes": entry["peak_rss_bytes"],
        }
        for entry in runs.manifest(out)["stages"]
    ]


def main() -> None:
    """Run, and write what each stage took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("-o", dest="out", type=Path, required=True)
    parser.add_argument("--memory", required=True)
    parser.add_argument("--spatial", action="store_true")
    parser.add_argument("--batch-key")
    parser.add_argument("--until")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--found", type=Path, required=True)
    args = parser.parse_args()
    stages = run_timed(
        args.input, args.out, settings=args.set, until=args.until, memory=args.memory,
        spatial=args.spatial, batch_key=args.batch_key, device="cpu",
    )  # fmt: skip
    args.found.write_text(json.dumps(stages), encoding="utf-8")


if __name__ == "__main__":
    main()
