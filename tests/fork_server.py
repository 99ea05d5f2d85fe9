"""Processes of `fleetward` for tests, forked from one process that has imported the program already.

To import the server costs more than everything else it does in most tests. So the worker of pytest starts one process
that imports it, opens nothing and has one thread; a process for a test is a fork of that one. What it is given from
outside is what a program would be given: arguments, environment, folder, standard streams. It runs the program's entry
point and ends as the interpreter ends. Where the system cannot do this (`AVAILABLE`), tests start the program itself.

    worker                            fork server                      fork
      request, streams, a socket  ->    fork                      ->     close what is not its own, run `main`
                                  <-    its pid, a file descriptor
      signals by the descriptor   ------------------------------->
                                  <-    its exit status           <-     end
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
AVAILABLE = sys.platform == "linux" and hasattr(os, "pidfd_open")
LARGEST_REQUEST = 128 * 1024
ANSWERS_WITHIN = 90.0
ENDS_WITHIN = 15.0
PR_SET_PDEATHSIG = 1

_one_at_a_time = threading.Lock()


class Forked:
    """A fork of the program, with what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, descriptor: int, told: socket.socket, stdout: IO[str]) -> None:
        self.pid = pid
        self.stdout: IO[str] | None = stdout
        self.returncode: int | None = None
        self._descriptor = descriptor
        self._told = told
        weakref.finalize(self, os.close, descriptor)
        weakref.finalize(self, told.close)

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the number of the signal that ended it; subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("fleetward", timeout or 0)
            status = self._told.recv(64, socket.MSG_PEEK)  # stays there for other threads that wait
            assert status, "the fork server has ended"
            self.returncode = os.waitstatus_to_exitcode(int(status))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(arguments: Sequence[str], environment: dict[str, str], stderr: IO[str]) -> Forked:
    """Run `fleetward ARGUMENTS`; its standard output is a pipe, its standard input is empty."""
    request = {"arguments": ["fleetward", *arguments], "environment": environment, "folder": str(Path.cwd())}
    told, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    try:
        with _one_at_a_time:
            descriptors = [writing, stderr.fileno(), other.fileno()]
            socket.send_fds(_fork_server().control, [json.dumps(request).encode()], descriptors)
    finally:
        os.close(writing)
        other.close()
    told.settimeout(ANSWERS_WITHIN)
    pid, found, _, _ = socket.recv_fds(told, 64, 1)
    assert pid, "the fork server has ended"
    told.settimeout(None)
    return Forked(int(pid), found[0], told, os.fdopen(reading))


@dataclass(frozen=True)
class _ForkServer:
    control: socket.socket
    process: subprocess.Popen[bytes]


@cache
def _fork_server() -> _ForkServer:
    control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = other.fileno()
    command = [sys.executable, "-m", "tests.fork_server", str(number)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETWARD_")}
    with other:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[number],
        )
    return _ForkServer(control, process)


def close() -> None:
    """End the fork server of this process, if there is one, and with it every fork."""
    if _fork_server.cache_info().currsize:
        server = _fork_server()
        server.control.close()
        server.process.wait(ENDS_WITHIN)
        _fork_server.cache_clear()


class _Forks:
    """The loop of the fork server: forks what is asked for, tells what has ended."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.running: dict[int, tuple[int, socket.socket]] = {}
        """By the file descriptor of the fork: its pid, and who is told of its end."""

    def serve(self) -> dict[str, Any] | None:
        """In a fork: what it has to run. In the fork server: None, once nobody wants anything any more."""
        while True:
            for key, _ in self.selector.select():
                if key.fd in self.running:
                    self._ended(key.fd)
                    continue
                text, descriptors, _, _ = socket.recv_fds(self.control, LARGEST_REQUEST, 3)
                if not text:
                    return self._end()
                if self._fork(descriptors):
                    found: dict[str, Any] = json.loads(text)
                    return found

    def _fork(self, descriptors: Sequence[int]) -> bool:
        """Whether this is the fork."""
        server = os.getpid()
        pid = os.fork()
        if not pid:
            self._become_own(server, descriptors)
            return True
        own = os.pidfd_open(pid)
        for number in descriptors[:2]:
            os.close(number)
        told = socket.socket(fileno=descriptors[2])
        socket.send_fds(told, [str(pid).encode()], [own])
        self.running[own] = (pid, told)
        self.selector.register(own, selectors.EVENT_READ)
        return False

    def _become_own(self, server: int, descriptors: Sequence[int]) -> None:
        """End with the fork server, let go of all that is its, and take the streams."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
        self.selector.close()
        self.control.close()
        for own, (_, told) in self.running.items():
            os.close(own)
            told.close()
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[1], 2)
        for number in descriptors:
            os.close(number)

    def _ended(self, own: int) -> None:
        pid, told = self.running.pop(own)
        self.selector.unregister(own)
        os.close(own)
        _, status = os.waitpid(pid, 0)
        with told, contextlib.suppress(BrokenPipeError):  # whoever asked for it wants to know no more
            told.send(str(status).encode())

    def _end(self) -> None:
        for own in self.running:
            signal.pidfd_send_signal(own, signal.SIGKILL)
        for own in list(self.running):
            self._ended(own)


LOADED_LATE = (
    "alembic.autogenerate",
    "alembic.command",
    "fleetward.cli.app",
    "fleetward.server.backends.bus_nats",
    "fleetward.server.backends.objects_s3",
    "fleetward.server.backends.store_postgres",
    "fleetward.server.logging_setup",
    "sqlalchemy.ext.compiler",
    "typer._adapters",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
    "uvloop",
    "zoneinfo",
)
"""What the program imports only once it needs it."""


def _import_program() -> None:
    """Everything a server loads until it serves, and the models of its services."""
    from fleetward.protocol.api.model import load_service
    from fleetward.server import app

    for service in app.SERVICES:
        load_service(service.name)
    for name in LOADED_LATE:
        with contextlib.suppress(ImportError):  # of optional parts
            importlib.import_module(name)


def _run(request: dict[str, Any]) -> None:
    from fleetward.cli.app import main

    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv = request["arguments"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())  # type: ignore[func-returns-value]  # as the installed program does


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when to end
    _import_program()
    gc.collect()
    gc.freeze()  # forks share what is there: their collectors need not walk over it, which would copy it
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has one thread: nothing may start others before"
    request = _Forks(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is not None:
        _run(request)


if __name__ == "__main__":
    _main()
