"""The report of a finished run in headless Chromium: size, time to open, and time of a frame while a map is moved.

``python -m bench.report OUT --repeats 3 --pictures FOLDER``

Chromium is steered by its own protocol, on a local port. The page is open when its script has drawn the maps
(``data-ready``). A frame is a move of the map by a few pixels, and all that the browser does until the next one.
Messages are what the page writes to the console, and errors of its script. Pictures show the whole page at two widths,
light and dark.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench._frame import runs
from bench._frame.arguments import add_repeats, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.page import table, write_results
from bench._frame.rows import logged

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench._frame.rows import Row

__all__ = ["BROWSERS", "MODES", "WIDTHS", "browser", "main", "opened_in"]

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

_READY = "document.documentElement?.dataset.ready === 'yes'"
_MOST_S = 60
_PHONE = 500
_MESSAGES = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
_FRAMES = """(async () => {
  const canvas = document.getElementById("umap"), box = canvas.getBoundingClientRect();
  const fire = (kind, x) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, clientX: x, clientY: box.top + 200, buttons: 1, bubbles: true}));
  const frame = () => new Promise(requestAnimationFrame);
  canvas.setPointerCapture = () => {};
  fire("pointerdown", box.left + 200);
  await frame();
  const start = performance.now();
  for (let i = 0; i < 30; i++) { fire("pointermove", box.left + 200 + 3 * i); await frame(); }
  const spent = performance.now() - start;
  fire("pointerup", box.left + 290);
  return spent / 30;
})()"""


def browser() -> str | None:
    """Return the path of a Chromium; None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


WIDTHS = (1400, 390)
MODES = ("light", "dark")


def opened_in(chromium: str, page: Path, pictures: Path | None = None) -> dict[str, Any]:
    """Open a page; return milliseconds until it was drawn and for a frame, and messages of the page.

    Parameters
    ----------
    pictures
        Folder for pictures of the page; none where None.
    """
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-", ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]
        command = [chromium, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}"]
        # Chromium's command can be a script in front of others, which must end too: hence the session.
        with subprocess.Popen(
            [*command, "about:blank"], stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            try:
                assert process.stderr is not None
                address = next(
                    line.split()[-1] for line in process.stderr if "listening on ws" in line
                )
                return asyncio.run(_measured(address, page, pictures))
            finally:
                os.killpg(process.pid, signal.SIGTERM)


class _Tab:
    """A tab of Chromium, asked by its protocol."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.n_sent = socket, 0
        self.messages: list[str] = []

    async def ask(self, method: str, **params: Any) -> Any:
        """Return the answer to a command; messages of the page that come before it are kept."""
        self.n_sent += 1
        sent = {"id": self.n_sent, "method": method, "params": params}
        await self.socket.write_message(json.dumps(sent))
        while True:
            message = await self.socket.read_message()
            assert message is not None, "Chromium ended"
            found = json.loads(message)
            if found.get("id") == self.n_sent:
                return found["result"]
            if found.get("method") in _MESSAGES:
                self.messages.append(json.dumps(found["params"])[:300])

    async def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = await self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def open(self, page: Path) -> float:
        """Open a page, and return the seconds until its maps are drawn."""
        start = time.perf_counter()
        await self.ask("Page.navigate", url=page.absolute().as_uri())
        while not await self.value(_READY):
            assert time.perf_counter() - start < _MOST_S, "the page does not get ready"
            await asyncio.sleep(0.01)
        return time.perf_counter() - start

    async def picture(self, page: Path, path: Path, width: int, mode: str) -> None:
        """Save a picture of the whole page."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=1000, deviceScaleFactor=1, mobile=width < _PHONE,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": mode}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])
        await self.open(page)
        shot = await self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


async def _measured(address: str, page: Path, pictures: Path | None) -> dict[str, Any]:
    from tornado.httpclient import AsyncHTTPClient
    from tornado.websocket import websocket_connect

    port = address.split(":")[2].split("/", maxsplit=1)[0]
    answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")
    target = next(each for each in json.loads(answer.body) if each["type"] == "page")
    socket = await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=1 << 28)
    tab = _Tab(socket)
    for domain in ("Runtime", "Log", "Page"):
        await tab.ask(f"{domain}.enable")
    opened = await tab.open(page)
    frame_ms = await tab.value(_FRAMES)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for width in WIDTHS:
            for mode in MODES:
                name = f"{page.parent.name}-{width}-{mode}.png"
                await tab.picture(page, pictures / name, width, mode)
    socket.close()
    return {"opened_ms": 1000 * opened, "frame_ms": frame_ms, "messages": tab.messages}


def _row(out: Path, found: dict[str, Any]) -> Row:
    run = runs.opened(out)
    return {
        "n_cells": len(run.labels),
        "n_drawn": min(len(run.labels), run.config.report.umap_cells),
        "n_clusters": int(run.labels.max()) + 1,
        "n_genes": run.config.report.map_genes,
        "page_bytes": (out / "report.html").stat().st_size,
        **found,
    }


_COLUMNS = (
    "run",
    "cells",
    "drawn",
    "clusters",
    "MB",
    "opens in s, median",
    "least",
    "ms a frame, median",
    "least",
    "messages",
)


def _line(name: str, rows: list[Row]) -> list[object]:
    of_run: list[Any] = [row for row in rows if row["run"] == name]
    first = of_run[0]
    times = [
        f"{statistic(row[key] for row in of_run) / unit:.{digits}f}"
        for key, unit, digits in (("opened_ms", 1000, 2), ("frame_ms", 1, 0))
        for statistic in (median, min)
    ]
    return [
        name,
        f"{first['n_cells']:,}",
        f"{first['n_drawn']:,}",
        first["n_clusters"],
        f"{first['page_bytes'] / 1e6:.2f}",
        *times,
        sum(len(row["messages"]) for row in of_run),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure the reports of some runs."""
    parser = parser_of("bench.report", __doc__)
    parser.add_argument("outs", type=Path, nargs="+", help="folders of finished runs")
    add_repeats(parser, 3, "how often each page is opened")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the pages")
    args = parsed(parser, arguments)
    chromium = browser()
    if chromium is None:
        parser.error(f"one of {', '.join(BROWSERS)} must be on the path")
    rows = logged(args.out, _rows(args, chromium))
    body = table(_COLUMNS, [_line(out.name, rows) for out in args.outs])
    write_results(args, "The report in a browser", body)


def _rows(args: argparse.Namespace, chromium: str) -> Iterator[Row]:
    """Yield what each page takes; pictures are of the first round."""
    for repeat, out in product(range(args.repeats), args.outs):
        pictures = args.pictures if repeat == 0 else None
        found = opened_in(chromium, out / "report.html", pictures)
        yield {**stamp(), "run": out.name, **_row(out, found)}


if __name__ == "__main__":
    main()
