"""The table of methods."""

import re
from pathlib import Path

import scrcl
from scrcl.train.methods import DEFAULT_METHOD, METHODS

ROOT = Path(scrcl.__file__).parent
PROGRAM = "scrcl"
"""The program has the name of one of its methods, which is known by its spelling in prose, and where it is compared."""


def test_no_file_outside_the_packages_and_the_table_names_a_method():
    assert DEFAULT_METHOD in METHODS
    others, every = ("|".join(names) for names in (METHODS.keys() - {PROGRAM}, METHODS))
    named = re.compile(
        rf"(?i:{others})|scRCL|methods\.(?:{every})|(?:method *[!=]=|METHODS\[) *[\"'](?:{every})[\"']"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted(ROOT.rglob("*"))
        if path.suffix in (".py", ".js", ".html", ".css")
        and ROOT / "train/methods" not in path.parents
        for line in path.read_text(encoding="utf-8").splitlines()
        if named.search(line)
    ]
    assert found == []
