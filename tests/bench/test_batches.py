"""The benchmark of biological batches at toy size."""

import pytest

from bench.batches.__main__ import main


@pytest.mark.slow
def test_measures_of_mixing_fall_with_the_shift_and_rise_with_balancing(
    tmp_path, quick, options, read
):
    page = tmp_path / "batches.md"
    sizes = options(cells=400, genes=300, types=4, seeds=0, shifts="0,1", out=page)
    main([*sizes, *quick])
    text, rows = read(page)
    of = {(row["shift"], row["balanced"]): row for row in rows}
    mixed, apart, balanced = of[0, False], of[1, False], of[1, True]
    for name in ("across_graph", "effective_graph", "across_embedding", "effective_embedding"):
        assert apart[name] < mixed[name]
        assert apart[name] < balanced[name]
    assert apart["nmi"] > mixed["nmi"]
    assert apart["entropy"] < mixed["entropy"]
    assert "| 1 | balanced | 0 |" in text
