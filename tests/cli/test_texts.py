import re
from pathlib import Path

import pytest

import scrcl
from scrcl.cli.texts import as_typed


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("Give `n_clusters=8` or auto.", "Give --n-clusters 8 or auto."),
        ("Give `n_clusters`.", "Give --n-clusters."),
        ('`n_clusters="auto"`', "--n-clusters auto"),
        ("Add `spatial=True`, or leave it out.", "Add --spatial, or leave it out."),
        ("`keep_x=False`", "--no-keep-x"),
        ("`batch_key='the donor'`.", "--batch-key 'the donor'."),
        ("`names.species='mouse'`", "--set names.species=mouse"),
        ("`names.tissues='Bone marrow'`", "--set 'names.tissues=Bone marrow'"),
        ("`names.table`", "--markers-table"),
        (
            "`batch_key=\"donor\", correct.method='harmony'`, and",
            "--batch-key donor --set correct.method=harmony, and",
        ),
        ('use `start="cluster"`: kept', "use --from cluster: kept"),
        ("start must be umap; got 'x'.", "--from must be umap; got 'x'."),
        ("donors must be a column of obs.", "--donors must be a column of obs."),
        ("pair must name two groups by labels.", "--pair must name two groups by labels."),
        ("`restart=True`", "--restart"),
        ("by `scrcl.rename`.", "by `scrcl rename`."),
        ("by `scrcl.find_markers`.", "by `scrcl markers`."),
        ("Run `pip install scrcl[cpu]`.", "Run `pip install scrcl[cpu]`."),
        ("a column `my column` and `steps`", "a column `my column` and `steps`"),
    ],
)
def test_what_is_given_in_python_is_typed_as_options(text, typed):
    assert as_typed(text) == typed


def test_options_in_a_page_stay_in_backquotes():
    text = "Give `n_clusters=8`; see `scrcl.rename`."
    assert as_typed(text, quoted=True) == "Give `--n-clusters 8`; see `scrcl rename`."


def test_texts_of_the_library_name_no_options():
    spoken = {"load_config.py": "--set must be KEY=VALUE", "budget.py": "on the command line"}
    root = Path(scrcl.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        if path.parent.name == "cli":
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            names = re.search(r"""["'].* --[a-z]|["']--[a-z-]+ """, line)
            is_other = "option(" in line or "pip install" in line or "``" in line
            if names and not is_other and spoken.get(path.name, "?") not in line:
                found.append((path.name, line.strip()))
    assert found == []
