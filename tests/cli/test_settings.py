"""The command that lists all settings."""

import json
import tomllib

from pydantic import ConfigDict

from scrcl._settings import Settings, settings_of
from scrcl.cli.render import console
from scrcl.engine.config import RunConfig
from scrcl.engine.load_config import load_config

NAMES = [each.name for each in settings_of(RunConfig())]


def test_every_setting_is_listed_with_meaning_and_allowed_values(scrcl, monkeypatch):
    monkeypatch.setattr(console, "width", 600)
    code, shown, _ = scrcl("settings")
    assert code == 0
    for each in settings_of(RunConfig()):
        line = next(line for line in shown.splitlines() if line.startswith(f"{each.name} "))
        assert each.field.description in line
    recall = next(line for line in shown.splitlines() if line.startswith("graph.recall"))
    assert {"auto", "--recall."} <= set(recall.split())
    assert "auto or a number above 0 and at most 1" in recall
    preset = next(line for line in shown.splitlines() if line.startswith("preset"))
    assert "[scrcl-paper or scgpcl-paper or unset]" in preset
    assert "[a value" not in shown


def test_a_group_can_be_listed_alone(scrcl):
    _, shown, _ = scrcl("settings", "graph", "--json")
    names = [row["name"] for row in json.loads(shown)]
    assert names == [name for name in NAMES if name.startswith("graph.")]
    _, shown, _ = scrcl("settings", "general", "--json")
    assert {row["name"] for row in json.loads(shown)} == {name for name in NAMES if "." not in name}
    code, shown, error = scrcl("settings", "garden")
    assert (code, shown) == (2, "")
    assert "garden" in error
    assert "--method" not in error
    assert "Add --method scgpcl." in scrcl("settings", "scgpcl")[2]
    assert "graph" in error


def test_json_holds_all_settings(scrcl):
    rows = {row["name"]: row for row in json.loads(scrcl("settings", "--json")[1])}
    assert set(rows) == set(NAMES)
    assert rows["graph.backend"]["option"] == "--knn"
    assert rows["train.lr"]["value"] == RunConfig().train.lr
    assert rows["train.lr"]["option"] is None


def test_the_toml_file_is_complete_and_gives_the_defaults(scrcl, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(scrcl("settings", "--toml")[1])
    assert load_config(file) == RunConfig()
    lines = file.read_text().splitlines()
    for name in NAMES:
        key = name.rpartition(".")[2]
        assert any(line.startswith((f"{key} = ", f"# {key} =")) for line in lines)


def test_the_toml_file_shows_given_settings(scrcl, tmp_path):
    given = ["--set", "graph.radius=2.5", "--set", "spatial=true", "--set", "cluster.also=[4, 9]"]
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(scrcl("settings", "--toml", *given)[1])
    assert tomllib.loads(first.read_text())["graph"]["radius"] == 2.5
    second.write_text(scrcl("settings", "--toml", "--config", first)[1])
    assert load_config(first).cluster.also == (4, 9)
    assert load_config(first) == load_config(second)


def test_groups_that_only_a_configuration_has_are_listed_too():
    class Inner(Settings):
        width: int = 3

    class Open(Settings):
        model_config = ConfigDict(extra="allow")
        name: str = "a"

    found = {each.name: each.value for each in settings_of(Open(own=Inner(width=4)))}
    assert found == {"name": "a", "own.width": 4}
