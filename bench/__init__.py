"""Benchmarks, run by hand; their tests run them at toy size.

Each topic is a package: ``python -m bench.TOPIC``, or ``python -m bench.TOPIC.NAME`` for its other benchmarks.
They share the frame in `bench._frame`. Pages and rows go to ``bench/results/TOPIC/DATE-MACHINE.{md,jsonl}``.
"""

import os

# As the command line does: threads of OpenMP that wait for others spin by default. On busy cores that took most of the
# processor time of a small training.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "300")
