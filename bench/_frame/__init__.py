"""The parts that all benchmarks share: options, conditions, rows, pages, and access to runs."""
