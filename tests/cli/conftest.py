import sys

import pytest

from scrcl.cli.main import main


@pytest.fixture
def scrcl(monkeypatch, capsys):
    """Run the command line; returns exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["scrcl", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
