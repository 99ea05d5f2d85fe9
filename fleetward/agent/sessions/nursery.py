"""The nursery: a process that has loaded all that a session needs, and forks a process for each.

A session then begins in a few milliseconds and shares most of its memory with the others. The agent starts the nursery
with the first session and ends it when there has been none for a while. What goes to it, over a socket that is its
standard input, is one byte for each session and with it two ends of pipes, which become the session's standard input
and output. Where there is no fork, sessions are started one by one.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

ARGUMENT = "nursery"


def command(*arguments: str) -> list[str]:
    """The command of a session's process, or of the nursery."""
    return [sys.executable, "-P", "-OO", "-m", "fleetward.agent.sessions", *arguments]


class Nursery:
    """The agent's side."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def begin(self, read_end: int, write_end: int) -> None:
        """Have a session begun on these ends, which stay open here; OSError when that cannot be done."""
        try:
            self._send(read_end, write_end)
        except OSError:
            self.end()
            self._send(read_end, write_end)  # it may have been killed: another one

    def end(self) -> None:
        """End the nursery; the sessions that it began go on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _send(self, read_end: int, write_end: int) -> None:
        if self._socket is None:
            self._socket = self._launch()
        if sys.platform != "win32":
            socket.send_fds(self._socket, [b"+"], [read_end, write_end])

    def _launch(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                command(ARGUMENT), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True
            )
        return ours


def serve(session: Callable[[], None]) -> None:
    """The nursery itself: fork for each request, and run `session` there; ends with the agent."""
    if sys.platform != "win32":
        control = socket.socket(fileno=0)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for sessions but by their pipes
        gc.collect()
        gc.freeze()  # a later collection would touch, and so copy, what sessions share
        while True:
            asked, ends, _, _ = socket.recv_fds(control, 1, 2)
            if not asked:
                return
            if len(ends) == 2 and _fork() == 0:
                control.detach()
                _become(ends)
                session()
            for end in ends:
                os.close(end)


def _fork() -> int:
    if sys.platform != "win32":
        try:
            return os.fork()
        except OSError:
            pass  # the pipes are closed, by which the agent knows
    return -1


def _become(ends: list[int]) -> None:
    """In the new process: be nobody's child but one's own, with these ends as standard input and output."""
    if sys.platform != "win32":
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
