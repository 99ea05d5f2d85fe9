"""A road between a client and a server that can be cut: by reset, or so that neither end notices."""

from __future__ import annotations

import socket
import struct
import threading


class Road:
    """Listens, and carries each connection to `target` until it is cut."""

    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._silenced: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """End every connection with a reset, both ways."""
        for pair in self._taken():
            for end in pair:
                try:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RD)  # wakes the thread that reads, so that the socket really closes
                    end.close()
                except OSError:
                    pass

    def silence(self) -> None:
        """Carry nothing more on any connection there is, and leave them open: half-open for either end."""
        with self._lock:
            for pair in self._pairs:
                self._silenced.update(pair)

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._listening.close()
        self.reset()

    def _taken(self) -> list[tuple[socket.socket, socket.socket]]:
        with self._lock:
            pairs, self._pairs = list(self._pairs), set()
            return pairs

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            assert self.target is not None
            far = socket.create_connection(self.target)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add((near, far))
        threading.Thread(target=self._pass, args=(far, near), daemon=True).start()
        self._pass(near, far)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if source not in self._silenced:
                    sink.sendall(data)
            if source not in self._silenced:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
