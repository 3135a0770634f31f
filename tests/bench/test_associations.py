"""The benchmark of cell-gene associations, at toy size."""

import numpy as np
import pytest

from bench.genes import associations
from bench.genes.associations import GROUPS, WAYS, main, scored
from bench.genes.known import TYPES, known_markers

TABLE = """gene,cell_type,species,sign
a,B,human,positive
b,B,human,positive
c,b2,human,positive
d,B,human,negative
e,B,mouse,positive
"""


def test_known_markers_are_positive_ones_of_human_types(tmp_path, monkeypatch):
    (tmp_path / "m.csv").write_text(TABLE)
    monkeypatch.setitem(TYPES, "toy", {"B cells": ("B", "b2"), "none": ("x",)})
    assert known_markers(tmp_path / "m.csv", "toy") == {"B cells": {"a", "b", "c"}, "none": set()}


def test_groups_are_scored_by_the_markers_of_most_of_their_cells():
    types = np.array(["x"] * 6 + ["y"] * 4)
    groups = np.array([0] * 5 + [1] * 5)
    values = np.zeros((10, 6))
    values[:5, :3] = 1  # the first three genes are high in group 0
    genes, known = np.array(list("abcdef")), {"x": {"a", "b", "c"}}
    assert scored(values, groups, types, genes, known) == (1.0, 1.0)
    assert scored(-values, groups, types, genes, known) == (0.0, 0.0)
    # Of the nine pairs with c, e and f, d is above one, and four are ties.
    assert scored(values, groups, types, genes, {"y": {"a", "b", "d"}})[0] == pytest.approx(3 / 9)


def test_associations_are_measured_by_every_way(tmp_path, data, options, read, quick, monkeypatch):
    genes = {f"type {i}": {f"gene{j}" for j in range(10 * i, 10 * i + 10)} for i in range(4)}
    monkeypatch.setitem(TYPES, "plain", {})
    monkeypatch.setattr(associations, "known_markers", lambda *_: genes)
    page = tmp_path / "page.md"
    main([*options(data=data, sets="plain", markers="m.csv", seeds=0, out=page), *quick])
    text, rows = read(page)
    assert [(row["groups"], row["way"]) for row in rows] == [(g, w) for g in GROUPS for w in WAYS]
    assert all(0 <= row["auc"] <= 1 for row in rows)
    assert text.count("| plain |") == len(GROUPS)
    by = {(row["groups"], row["way"]): row["auc"] for row in rows}
    assert by["types", "fit to Z"] == pytest.approx(by["types", "expression"], abs=0.1)
