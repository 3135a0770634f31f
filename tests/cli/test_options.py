"""Options that are made from settings, help and completion."""

from typing import get_args

import pytest
import typer
from typer.main import get_command

from scrcl._settings import Settings, choices, option, option_of, settings_of
from scrcl.cli.main import app
from scrcl.cli.options import Given, with_config, with_settings
from scrcl.engine.config import RunConfig
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError

SETTINGS = {each.name: each for each in settings_of(RunConfig()) if option_of(each.field)}
VALUES = {"memory": "7GB", "preset": "scgpcl-paper"}
NEEDED = {"sample_key": ["--spatial"], "one_tissue": ["--spatial"]}
OPTIONS = {
    "n_clusters": "--n-clusters", "seed": "--seed", "memory": "--memory", "device": "--device", "layer": "--layer",
    "join": "--join", "batch_key": "--batch-key", "spatial": "--spatial", "sample_key": "--sample-key",
    "one_tissue": "--one-tissue", "graph.n_neighbors": "--n-neighbors", "graph.backend": "--knn",
    "graph.recall": "--recall", "format": "--format", "keep_x": "--keep-x",
}  # fmt: skip


def another_value(setting):
    """Return a value that is allowed and not the default, as text."""
    words = [word for word in choices(setting.field) if word != setting.value]
    if words:
        return words[-1]
    kinds = (setting.field.annotation, *get_args(setting.field.annotation))
    return "0.5" if float in kinds else "7"


def config_of(*arguments):
    """Return the configuration that a command receives."""
    received = []
    own = typer.Typer()

    @own.command()
    @with_config()
    def command(config: RunConfig) -> None:
        received.append(config)

    own(list(map(str, arguments)), standalone_mode=False)
    return received[0]


def test_options_keep_their_names():
    assert {name: option_of(SETTINGS[name].field).names[0] for name in OPTIONS} == OPTIONS


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "method"])
def test_the_value_of_every_option_reaches_its_setting(name):
    setting, needed = SETTINGS[name], NEEDED.get(name, [])
    is_flag = setting.field.annotation is bool
    value = VALUES.get(name) or ("true" if is_flag else another_value(setting))
    is_number = setting.field.annotation in (int, float) and name != "memory"
    text = value if is_flag or is_number else f'"{value}"'
    typed = [] if is_flag else [value]
    for spelled in option_of(setting.field).names:
        config = config_of(spelled, *typed, *needed)
        expected = load_config(
            settings=[f"{name}={text}", *(["spatial=true"] if needed else [])],
        )
        assert config == expected
        assert config != config_of(*needed)


def test_the_method_is_an_option_and_an_unknown_one_is_refused():
    # It cannot have another value while there is one method.
    assert config_of("--method", "scrcl") == RunConfig()
    with pytest.raises(InputError, match=r"method .*magic"):
        config_of("--method", "magic")


def test_without_options_a_command_gets_the_defaults():
    assert config_of() == RunConfig()


def test_set_wins_over_options_and_options_win_over_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\n[graph]\nn_neighbors = 4\nrecall = 0.5\nradius = 2\n")
    typed = ["--config", file, "--n-neighbors", 5, "--recall", 0.75, "--spatial"]
    graph = config_of(*typed, "--set", "graph.recall=0.875").graph
    assert (graph.n_neighbors, graph.recall, graph.radius) == (5, 0.875, 2)


def test_a_new_setting_with_an_option_needs_no_code_in_the_command_line():
    class Toy(Settings):
        size: int = option(3, "--size", "-s", panel="Toy", ge=1, description="Size of the toy.")

    received = []
    own = typer.Typer()

    @own.command()
    @with_settings(Toy())
    def command(given: Given) -> None:
        received.append(given)

    own(["-s", "4"], standalone_mode=False)
    own([], standalone_mode=False)
    assert received == [{"size": "4"}, {}]
    (parameter,) = (each for each in get_command(own).params if each.name == "size")
    assert parameter.help == "Size of the toy. [a whole number of at least 1; default: 3]"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_meaning_default_and_panel_of_each_option(scrcl, monkeypatch, flag):
    monkeypatch.setenv("COLUMNS", "400")
    code, shown, _ = scrcl("run", flag)
    assert code == 0
    for setting in SETTINGS.values():
        declared = option_of(setting.field)
        line = next(line for line in shown.splitlines() if f" {declared.names[0]} " in line)
        assert setting.field.description.replace("`", "")[:60] in line
        if setting.value not in (None, False):
            assert f"default: {setting.value}]" in line
        assert f"─ {declared.panel} ─" in shown
    assert scrcl(flag)[0] == 0


def test_hidden_commands_have_the_old_names(scrcl):
    commands = get_command(app).commands
    assert {name for name, each in commands.items() if each.hidden} == {"info", "fit"}
    assert [each.name for each in commands["fit"].params] == [
        each.name for each in commands["run"].params
    ]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("scrcl pred", {"predict"}),
        ("scrcl run --join ", {"inner", "outer"}),
        ("scrcl run --knn par", {"partitioned"}),
        (
            "scrcl run --from ",
            {
                "umap",
                "doublets",
                "cluster",
                "markers",
                "names",
                "subclusters",
                "pseudotime",
                "report",
            },
        ),
        ("scrcl settings gr", {"graph"}),
    ],
)
def test_the_shell_completes_commands_and_values(scrcl, monkeypatch, typed, offered):
    monkeypatch.setenv("_SCRCL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    code, shown, _ = scrcl()
    assert code == 0
    assert set(shown.split()) == offered
