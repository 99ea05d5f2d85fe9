"""What a terminal and a program of a session are, whatever system makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleetward.agent.platforms.account import Account


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start, with its whole environment; `account` None is the agent's own user.

    A command that is text is a line that the system itself splits, as Windows does.
    """

    command: Sequence[str] | str
    environment: Mapping[str, str]
    folder: str
    account: Account | None


class Terminal(Protocol):
    """A program in a terminal of its own. Nothing here ever waits; all of it is called on the loop."""

    def begin(self, on_output: Callable[[bytes], None], on_written: Callable[[], None]) -> None:
        """Start to read. `on_written` is called when some of what waited to be written has been."""

    def pause(self) -> None:
        """Read no more for now: the program waits once it has filled the terminal."""

    def resume(self) -> None:
        """Read on."""

    def write(self, data: bytes) -> None:
        """Type something; what the program does not take yet waits here."""

    @property
    def backlog(self) -> int:
        """Bytes that were typed and not yet taken."""

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal; the program is told."""

    async def ended(self) -> int:
        """Wait until the program has ended and its output is read: its exit code, 128 + signal after one."""

    async def hang_up(self) -> None:
        """End the program and what stands in its foreground, first gently; then drop the terminal."""
