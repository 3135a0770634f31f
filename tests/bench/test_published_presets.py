"""The benchmark of the presets of the papers at toy size."""

import pytest

from bench.accuracy.published import MINUTES, main
from scrcl.engine.load_config import load_config

TINY = {
    "scgpcl-paper": ["scgpcl.dim=8", "scgpcl.hidden_dim=16", "scgpcl.gene_dim=4", "scgpcl.refresh_every=5"],
    "scrcl-paper": ["scrcl.dim=8"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("preset", TINY)
def test_the_final_state_stands_next_to_the_best_by_labels(preset, tmp_path, data, read):
    page = tmp_path / "published.md"
    settings = [*TINY[preset], "train.epochs=12", "reduce.n_comps=12", "features.n_top_genes=100"]
    given = [part for one in settings for part in ("--set", one)]
    main(
        ["--data", str(data), "--sets", "plain", "--preset", preset, *given, "--out", str(page)]
    )  # fmt: skip
    text, (row,) = read(page)
    assert row["final"]["ari"] <= row["best"]["ari"]
    assert row["final"]["n_clusters"] == 4
    assert row["best"]["step"] <= row["final"]["step"]
    assert f"Preset {preset}, changed by" in text
    assert f"| plain | 240 | 100 | 4 | {row['lr']:.0e} | 0 |" in text
    final = " / ".join(f"{row['final'][name]:.3f}" for name in ("nmi", "acc", "ari"))
    assert f"| plain | 1e-04 | 1 | {final} | 0.000 / 0.000 / 0.000 |" in text


@pytest.mark.parametrize("name", MINUTES)
def test_sets_with_published_minutes_have_an_example(name):
    assert load_config(f"examples/paper/scgpcl-{name}.toml").preset == "scgpcl-paper"
