"""A control plane that answers a node's calls of Systems Manager as a test tells it to, and remembers them."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fleetward.agent.http import Url

Members = dict[str, Any]


class Refusal(Exception):
    """Answer with this error."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class ControlPlane:
    """What was called, in order; `answers` by operation, an empty object for those that are not in it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Members]] = []
        self.answers: dict[str, Callable[[Members], Members]] = {}
        self.url = Url("http", "127.0.0.1", 9)

    def called(self, operation: str) -> list[Members]:
        """The members of all calls of one operation."""
        return [members for name, members in list(self.calls) if name == operation]

    def answer(self, operation: str, members: Members) -> tuple[int, Members]:
        """Status and members of an answer."""
        self.calls.append((operation, members))
        try:
            return 200, self.answers.get(operation, lambda _: {})(members)
        except Refusal as refusal:
            return refusal.status, {"__type": refusal.code, "message": "because"}


@contextmanager
def answering() -> Iterator[ControlPlane]:
    """A control plane over real HTTP, without the signatures."""
    plane = ControlPlane()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, members = plane.answer(self.headers["X-Amz-Target"].rpartition(".")[2], json.loads(body))
            answer = json.dumps(members).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    plane.url = Url("http", "127.0.0.1", server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield plane
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
