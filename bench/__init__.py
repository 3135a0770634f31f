"""Benchmarks, run by hand; their tests run them at toy size.

Each topic is a package: ``python -m bench.TOPIC``, or ``python -m bench.TOPIC.NAME`` for its other benchmarks.
They share the frame in `bench._frame`. Pages and rows go to ``bench/results/TOPIC/DATE-MACHINE.{md,jsonl}``.
"""

import scrcl  # noqa: F401 - before torch, which other methods load: its threads then wait asleep
