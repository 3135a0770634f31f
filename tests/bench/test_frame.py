"""The parts that benchmarks share."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench._frame.arguments import add_data, add_only, add_settings, parsed, parser_of
from bench._frame.conditions import conditions, machine
from bench._frame.labelled import labelled_files, read_labelled
from bench._frame.page import FINDINGS, table, write_page
from bench._frame.rows import RowLog, logged, read_rows
from bench._frame.sections import Section, measure_sections


def test_a_page_starts_with_the_command_that_makes_it_and_keeps_its_findings(tmp_path):
    page = tmp_path / "new" / "page.md"
    write_page(page, "Title", "python -m bench.toy", "On a toy.", ["| old |"])
    with page.open("a") as file:
        file.write(f"\n{FINDINGS}\n\nNo harm.\n")
    text = write_page(page, "Title", "python -m bench.toy --k 2", "On a toy.", table(["a"], [[1]]))
    lines = [line for line in text.splitlines() if line]
    assert lines[0].startswith("# Title, ")
    assert lines[1] == "`python -m bench.toy --k 2`"
    assert lines[2:] == ["On a toy.", "| a |", "|---|", "| 1 |", FINDINGS, "No harm."]
    assert page.read_text() == text


def test_pages_go_to_the_folder_of_their_topic_by_default():
    today = time.strftime("%Y-%m-%d")
    args = parsed(parser_of("bench.search.order", None), [])
    topic, name = Path(args.out).parts[-2:]
    assert (topic, name) == ("search", f"{today}-{os.cpu_count()}cpu-order.md")
    assert Path(args.out).parents[1].name == "results"
    assert args.command == "python -m bench.search.order"


def test_the_command_can_be_pasted_into_a_shell():
    parser = parser_of("bench.toy", None)
    add_settings(parser)
    assert parsed(parser, ["--set", "a b"]).command == "python -m bench.toy --set 'a b'"


def test_sections_that_do_not_exist_are_refused(capsys):
    parser = parser_of("bench.toy", None)
    add_only(parser, ["scale", "peers"], "sections")
    assert parsed(parser, []).only == ["scale", "peers"]
    with pytest.raises(SystemExit):
        parsed(parser, ["--only", "scale,speed"])
    error = capsys.readouterr().err
    assert "--only" in error
    assert "'speed'" in error


def test_rows_are_on_disk_as_soon_as_they_are_measured_and_after_those_that_are_kept(tmp_path):
    page = tmp_path / "page.md"
    with RowLog(page, [{"n": 1}]) as log:
        log.append({"n": 2})
        assert read_rows(page.with_suffix(".jsonl")) == [{"n": 1}, {"n": 2}]

    def found():
        yield {"n": 4}
        assert read_rows(page.with_suffix(".jsonl")) == [{"n": 3}, {"n": 4}]
        yield {"n": 5}

    assert logged(page, found(), kept=[{"n": 3}]) == [{"n": n} for n in (3, 4, 5)]
    with pytest.raises(SystemExit, match="missing"):
        read_rows(tmp_path / "missing.jsonl")


def test_a_section_stays_until_it_is_measured_again(tmp_path):
    values = iter(range(10))

    def measure(bench):
        value = next(values)
        yield {"value": value}, [f"value {value}"]

    sections = {name: Section(name.title(), measure) for name in ("first", "second")}

    def run(*only):
        page = tmp_path / "page.md"
        args = SimpleNamespace(out=page, only=list(only), command=f"run {' '.join(only)}")
        text = measure_sections("Toy", sections, SimpleNamespace(args=args))
        rows = read_rows(page.with_suffix(".jsonl"))
        return text, {row["section"]: row["found"]["value"] for row in rows}

    assert run("second", "first")[1] == {"first": 0, "second": 1}
    text, found = run("second")
    assert found == {"first": 0, "second": 2}
    assert text.index("`run second first`") < text.index("`run second`") < text.index("## First")
    assert text.index("value 0") < text.index("## Second") < text.index("value 2")


def test_conditions_name_the_commits_the_machine_and_the_versions():
    text = conditions(commits=["b", "a", "b"], libraries=["numpy"], device="cpu")
    assert "commit a, b; CPU; " in text
    assert f"{os.cpu_count()} cores" in text
    assert "numpy " in text
    assert "load " in text
    assert machine() == f"{os.cpu_count()}cpu"


def test_labelled_sets_are_found_by_name_and_by_their_coordinates(data, tmp_path):
    assert [path.stem for path in labelled_files(data)] == ["plain", "tissue"]
    assert [path.stem for path in labelled_files(data, ["la", "x"])] == ["plain"]
    assert [path.stem for path in labelled_files(data, spatial=True)] == ["tissue"]
    found = read_labelled(data / "tissue.h5ad")
    assert (found.name, found.n_cells, found.k, found.spatial) == ("tissue", 240, 4, True)
    with pytest.raises(SystemExit, match="--data must hold"):
        labelled_files(tmp_path)


def test_a_folder_of_data_must_be_named_where_there_is_no_default(capsys):
    parser = parser_of("bench.toy", None)
    add_data(parser)
    with pytest.raises(SystemExit):
        parsed(parser, [])
    assert "--data" in capsys.readouterr().err
