"""The benchmark of scRCL as published at toy size."""

import pytest

from bench.training.published import TERMS, main
from tests.cells import FAST_SETTINGS

SMALL = [one for one in FAST_SETTINGS if one.startswith(("features.", "reduce.", "graph."))]


@pytest.mark.slow
def test_both_forms_have_the_same_loss_at_every_step(data, tmp_path, read):
    page = tmp_path / "published.md"
    settings = [*SMALL, "scrcl.dim=12", "scrcl.refined_dim=4"]
    given = [part for one in settings for part in ("--set", one)]
    main(["--data", str(data), "--sets", "plain", "--steps", "5", "--out", str(page), *given])
    text, (row,) = read(page)
    assert "| plain | 240 |" in text
    assert len(row["linear"]) == len(row["dense"]) == 5
    for linear, dense in zip(row["linear"], row["dense"], strict=True):
        assert len(linear) == len(TERMS)
        assert sum(linear) == pytest.approx(sum(dense), rel=1e-4)
