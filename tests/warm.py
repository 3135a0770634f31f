"""Python commands that start with the large libraries loaded: importing them takes most of a toy run.

One process imports them, once for each worker of the tests, and starts no thread. Each command is a fork of it. It is a
process of its own as before: it has its own arguments, environment, output and exit code, and can be killed. Where
processes cannot be handed over (Linux alone has that), commands start as always.
"""

import array
import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

_PRELOADED = (
    "anndata", "dask.array", "faiss", "igraph", "jinja2", "numba", "scanpy", "scipy.sparse.csgraph",
    "sklearn.cluster", "sklearn.metrics", "torch", "zarr", "scrcl.cli.main", "scrcl.engine.run",
    "scrcl.engine.stages",
)  # fmt: skip
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: an orphan becomes a child of the nearest ancestor that asks for it."""

_LARGEST = 1 << 20
"""Bytes of a command with its environment."""


ColdPopen = subprocess.Popen


class WarmPopen(ColdPopen):
    """As `subprocess.Popen`, but a command of this Python is forked from the process that has the libraries."""

    def _execute_child(self, args, *rest, **named):
        asked = inspect.signature(super()._execute_child).bind(args, *rest, **named).arguments
        command = [os.fspath(part) for part in args] if isinstance(args, (list, tuple)) else []
        if command[:1] != [sys.executable] or command[1:2] not in (["-m"], ["-c"]) or not _loaded():
            super()._execute_child(args, *rest, **named)
            return
        ends = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        fds = [end if end != -1 else own for own, end in enumerate(ends)]
        self.pid = _loaded().start(command[1:], asked["env"], asked["cwd"], fds)
        self._child_created = True
        self._close_pipe_fds(*(asked[name] for name in (
            "p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")))  # fmt: skip


class _Server:
    """The process that has the libraries, as seen from a worker."""

    def __init__(self):
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"from tests.warm import serve; serve({theirs.fileno()})"
        self._process = ColdPopen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        theirs.close()

    def start(self, command, env, cwd, fds):
        """Return the id of a new process."""
        wanted = {"command": command, "env": dict(os.environ if env is None else env)}
        wanted["cwd"] = os.fspath(cwd or Path.cwd())
        handed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        self._socket.sendmsg([json.dumps(wanted).encode()], handed)
        return int(self._socket.recv(64))


_server: list[_Server | None] = []


def _loaded():
    """Return the server, started when it is first needed, or None on a system without it."""
    if not _server:
        try:
            _server.append(_Server() if sys.platform.startswith("linux") else None)
        except OSError:  # not every container lets a process adopt others
            _server.append(None)
    return _server[0]


def serve(number):
    """Load the libraries, then fork for each command that comes, until the worker has ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _PRELOADED:
            __import__(name)
    with socket.socket(fileno=number) as worker:
        while True:
            message, fds, _, _ = socket.recv_fds(worker, _LARGEST, 3)
            if not message:
                return
            worker.send(str(_fork(worker, json.loads(message), fds)).encode())
            for fd in fds:
                os.close(fd)


def _fork(worker, wanted, fds):
    """Start a command as a child of the worker; returns its id.

    It is the child of a child that has ended: the orphan goes to the worker before its id does.
    """
    reading, writing = os.pipe()
    between = os.fork()
    if not between:
        pid = os.fork()
        if not pid:
            for fd in (reading, writing):
                os.close(fd)
            worker.close()
            _be(wanted, fds)
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.waitpid(between, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return int(pipe.read())


def _be(wanted, fds):
    """Run a command as `python` would, and end."""
    code = 1
    try:
        for own, fd in enumerate(fds):
            os.dup2(fd, own)
            os.close(fd)
        os.environ.clear()
        os.environ.update(wanted["env"])
        os.chdir(wanted["cwd"])
        kind, what, *arguments = wanted["command"]
        sys.argv = [what if kind == "-m" else "-c", *arguments]
        sys.path[0] = wanted["cwd"] if kind == "-m" else ""
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})  # noqa: S102 - what `python -c` does
        code = 0
    except SystemExit as ended:
        code = ended.code
        if code is not None and not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:  # noqa: BLE001 - as the interpreter reports it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code or 0)
