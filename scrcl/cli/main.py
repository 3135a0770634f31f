"""The command line: exit codes 0 done, 2 bad input (one line), 75 stopped by SIGTERM or SIGUSR1, 130 by Ctrl-C.

1 is a fault in scrcl, with a traceback. 75 is EX_TEMPFAIL: the same command resumes later, so a scheduler may queue it
again.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback

import typer
from typer.exceptions import TyperException

from scrcl import __version__
from scrcl._interrupt import SIGNALS, Interruption
from scrcl._warnings import warned_once
from scrcl.cli import data, results, run, settings
from scrcl.cli.app import app
from scrcl.cli.options import missing_meant, option_meant
from scrcl.cli.texts import as_typed
from scrcl.errors import ScrclError

__all__ = ["app", "main"]

_COMMANDS = (run, results, data, settings)
"""Importing them registers their commands; the help has this order."""

_ORDER = [module.__name__ for module in _COMMANDS]
app.registered_commands.sort(
    key=lambda each: _ORDER.index(getattr(each.callback, "__module__", ""))
)

_FAULT, _BAD_INPUT, _STOPPED, _INTERRUPTED = 1, 2, os.EX_TEMPFAIL, 130


def main() -> None:
    """Run the command line; deliberate errors become one line and exit code 2."""
    _show_warnings()
    asked = 0
    try:
        with Interruption.on_signals() as interruption, warned_once():
            code = app(prog_name="scrcl", standalone_mode=False, obj=interruption)
            asked = interruption.asked
    except ScrclError as error:
        _fail(as_typed(str(error)), _BAD_INPUT)
    except TyperException as error:  # an option or argument that is wrong, missing or unknown
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        _fail(option_meant(error) or missing_meant(error) or text, _BAD_INPUT)
    except Exception:  # noqa: BLE001 - it is shown whole
        typer.echo(traceback.format_exc(), err=True)
        _fail(
            f"this is a fault in scrcl {__version__}, not in your data. Please report it where you got scrcl, with the "
            "command and the lines above.",
            _FAULT,
        )
    if code == _INTERRUPTED:  # typer turns `Interrupted` into this code
        for number in SIGNALS:  # a late signal must not change how the process ends
            signal.signal(number, signal.SIG_IGN)
        by_hand = asked in {0, signal.SIGINT}
        by = f" by {signal.Signals(asked).name}" if asked else ""
        message = f"interrupted{by}. Repeat the same command to resume."
        _fail(message, _INTERRUPTED if by_hand else _STOPPED)
    sys.exit(code or 0)


def _show_warnings() -> None:
    """Send the library's warnings to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Warning())
    logger = logging.getLogger("scrcl")
    logger.handlers = [handler]
    logger.propagate = False


class _Warning(logging.Formatter):
    """Writes a warning of the library with options in place of settings."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"warning: {as_typed(record.getMessage())}"


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)
