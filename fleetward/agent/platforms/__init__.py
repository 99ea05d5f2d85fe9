"""What differs between systems: the only place that asks which system this is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetward.agent.platforms.account import Account
    from fleetward.agent.platforms.terminal import Launch, Terminal
    from fleetward.protocol.document.plan import PlatformType


class Platform(Protocol):
    """One kind of system, as the agent needs to know it."""

    platform_type: PlatformType

    def name_and_version(self) -> tuple[str, str]:
        """Such as ("Debian GNU/Linux", "12")."""

    def machine_id(self) -> str:
        """What stays the same as long as this is the same installation; empty when there is no such thing."""

    def hardware(self) -> dict[str, str]:
        """Named hashes of what this machine is made of."""

    def boot_id(self) -> str:
        """What is different after every boot."""

    def reboot(self) -> None:
        """Ask the system to restart now."""

    def session_options(self) -> dict[str, Any]:
        """Options of Popen that give a program a process group of its own."""

    def kill_tree(self, pid: int) -> None:
        """End a program and all that it started, at once."""

    def process_mark(self, pid: int) -> str:
        """What tells this process from a later one of the same id; empty when there is none."""

    def lock(self, path: Path) -> IO[bytes] | None:
        """Take a lock that ends with the process; None when somebody has it."""

    def shell_command(self, script: Path) -> list[str]:
        """How aws:runShellScript runs a script."""

    def powershell_command(self, script: Path, environment: Mapping[str, str]) -> list[str] | None:
        """How aws:runPowerShellScript runs a script; None when PowerShell is not installed."""

    def may_change_account(self) -> bool:
        """Whether this process may start programs under other accounts."""

    def find_account(self, name: str) -> Account | None:
        """The account of a name; None when there is none."""

    def default_account(self) -> Account | None:
        """The account of sessions that ask for none, made if it is missing; None: the agent's own user.

        AccountFault when it cannot be made.
        """

    def session_environment(self, account: Account | None) -> dict[str, str]:
        """All variables of a session's program; the agent's own are not among them, they may hold secrets."""

    def session_folder(self, account: Account | None) -> str:
        """Where a session's program starts: at home, or at the top if there is no home."""

    def session_shell(self, commands: str | None = None) -> list[str]:
        """The shell of a session, or that shell running `commands`."""

    def split_command(self, commands: str) -> Sequence[str] | str:
        """The words of a command that no shell is to read; ValueError when a quotation does not end."""

    def account_options(self, account: Account | None) -> dict[str, Any]:
        """Options of Popen that run a program under an account."""

    def open_terminal(self, launch: Launch) -> Terminal:
        """Start a program in a terminal; OSError when it cannot be started."""

    def interrupt(self, pid: int, *, hard: bool = False) -> None:
        """SIGINT to a process group, or SIGQUIT when `hard`; what comes nearest where there are no signals."""

    def install_service(self, command: list[str], folder: Path) -> str:
        """Start the agent with the system from now on; a sentence that says what was done. OSError if it cannot."""

    def remove_service(self, folder: Path) -> None:
        """Undo `install_service` of this folder's agent; nothing happens when it was never done."""


@lru_cache(maxsize=1)
def current() -> Platform:
    """The system this runs on."""
    if sys.platform == "win32":
        from fleetward.agent.platforms.windows import Windows

        return Windows()
    elif sys.platform == "darwin":
        from fleetward.agent.platforms.macos import MacOS

        return MacOS()
    else:
        from fleetward.agent.platforms.linux import Linux

        return Linux()
