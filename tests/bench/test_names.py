"""The benchmark of names, at toy size."""

import anndata
import numpy as np
import pytest

from bench.genes.names import main
from bench.genes.right_names import NAMED, Named, is_named

ABOUT = Named("human", "Blood", {f"type {i}": f"^type {i}$" for i in range(3)}, {"type 3": "type"})


@pytest.fixture
def markers(data, tmp_path):
    cells = anndata.read_h5ad(data / "plain.h5ad")
    means = np.log1p(cells.to_df()).groupby(cells.obs["cell_type"].to_numpy()).mean()
    above = means - means.mean()
    lines = [
        f"{gene},{kind},{('Blood', 'Lung')[kind == 'type 3']},human"
        for kind in means.index
        for gene in above.loc[kind].nlargest(8).index
    ]
    (tmp_path / "m.csv").write_text("\n".join(["gene,cell_type,tissue,species", *lines]))
    return tmp_path / "m.csv"


def test_shares_of_rightly_named_cells(tmp_path, data, markers, options, read, quick, monkeypatch):
    monkeypatch.setitem(NAMED, "plain", ABOUT)
    page = tmp_path / "page.md"
    main(
        [
            *options(
                data=data, sets="plain", markers=markers, seeds=0, out=page, set="names.min_score=1"
            ),
            *quick,
        ]
    )
    text, rows = read(page)
    assert [row["tissues"] for row in rows] == [None, "Blood"]
    assert all(row["right"] > 0.3 for row in rows)
    assert rows[0]["coarse"] > 0
    names = {each["name"] for each in rows[1]["clusters"]}
    assert "type 3" not in names
    assert text.count("| plain | ") == 1 + len(rows[1]["clusters"])


def test_first_genes_by_each_rule_and_notes_on_merged_types(
    tmp_path, data, markers, options, read, monkeypatch
):
    from bench.genes import mixed
    from bench.markers import known

    monkeypatch.setitem(NAMED, "plain", ABOUT)
    page = tmp_path / "page.md"
    known.main(options(data=data, sets="plain", markers=markers, out=page))
    text, rows = read(page)
    assert {row["rule"] for row in rows} == set(known.RULES)
    assert all(row["known of 10"] > 0.3 and row["found of known"] == 1 for row in rows)
    assert text.count("| mean of sets |") == 3
    mixed.main(options(data=data, sets="plain", markers=markers, out=tmp_path / "mixed.md"))
    text, rows = read(tmp_path / "mixed.md")
    assert [len(row["types"]) for row in rows[:3]] == [1, 1, 1]
    assert text.count("| all |") == 1


@pytest.mark.parametrize(
    ("label", "name", "right"),
    [
        ("beta", "type B pancreatic cell", True),
        ("B_cell", "type B pancreatic cell", False),
        ("B_cell", "memory B cell", True),
        ("T_cell", "CD8-positive, alpha-beta T cell", True),
        ("T_cell", "plasma cell", False),
        ("another", "B cell", False),
    ],
)
def test_a_name_is_right_for_its_labels_alone(label, name, right):
    assert is_named(name, label, NAMED["baron_mouse_pancreas"].right) == right
