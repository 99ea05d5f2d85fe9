"""What Linux and macOS share: process groups, locks, shells."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleetward.agent.platforms.account import Account
    from fleetward.agent.platforms.terminal import Launch, Terminal

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "PATH", "TZ")


class Posix:
    """A system with process groups."""

    default_language = "C.UTF-8"

    def session_options(self) -> dict[str, Any]:
        """A session of its own, killed as one, and the umask that scripts expect instead of the agent's."""
        return {"start_new_session": True, "umask": 0o022}

    def kill_tree(self, pid: int) -> None:
        """SIGKILL to the whole process group, as the official agent does it (AP 10.3)."""
        if sys.platform != "win32":
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def lock(self, path: Path) -> IO[bytes] | None:
        """An exclusive flock."""
        file = path.open("ab")
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return None
        return file

    def shell_command(self, script: Path) -> list[str]:
        """`sh -c <path>`: the script's own first line chooses its interpreter (AP 10.3)."""
        script.chmod(0o700)
        quoted = "'" + str(script).replace("'", "'\\''") + "'"
        return ["sh", "-c", quoted]

    def powershell_command(self, script: Path, environment: Mapping[str, str]) -> list[str] | None:
        """PowerShell 7, where it is installed."""
        import shutil  # costs memory; few nodes need it

        program = shutil.which("pwsh", path=environment.get("PATH"))
        return [program, "-NoProfile", "-NonInteractive", "-File", str(script)] if program else None

    def may_change_account(self) -> bool:
        """Root may."""
        from fleetward.agent.platforms import posix_accounts

        return posix_accounts.is_root()

    def find_account(self, name: str) -> Account | None:
        """By the name service, so that domain accounts are found too."""
        from fleetward.agent.platforms import posix_accounts

        return posix_accounts.find(name)

    def default_account(self) -> Account | None:
        """ssm-user where this process may change to it, else the process's own."""
        from fleetward.agent.platforms import posix_accounts

        return posix_accounts.default(self.add_account_command) if posix_accounts.is_root() else None

    def add_account_command(self, name: str) -> list[str]:
        """The command that makes an account with a home."""
        return ["useradd", "--create-home", name]

    def session_environment(self, account: Account | None) -> dict[str, str]:
        """Path, language and time zone of the agent, and what a login would set."""
        from fleetward.agent.platforms import posix_accounts

        account = account or posix_accounts.own()
        return {
            "PATH": DEFAULT_PATH,
            "LANG": self.default_language,
            **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            "HOME": account.home,
            "LOGNAME": account.name,
            "SHELL": account.shell,
            "TERM": "xterm-256color",
            "USER": account.name,
        }

    def session_folder(self, account: Account | None) -> str:
        """The home, if it is a folder."""
        from fleetward.agent.platforms import posix_accounts

        home = (account or posix_accounts.own()).home
        return home if Path(home).is_dir() else "/"

    def session_shell(self, commands: str | None = None) -> list[str]:
        """`sh`, as with the official agent; a profile that says `exec "$SHELL" -l` gets the account's own."""
        return ["sh"] if commands is None else ["sh", "-c", commands]

    def split_command(self, commands: str) -> list[str]:
        """By the rules of shells for quotes and backslashes, and none of their others."""
        import shlex

        return shlex.split(commands)

    def account_options(self, account: Account | None) -> dict[str, Any]:
        """User, group and further groups."""
        if account is None:
            return {}
        return {"user": account.uid, "group": account.gid, "extra_groups": list(account.groups)}

    def open_terminal(self, launch: Launch) -> Terminal:
        """On a pty."""
        if sys.platform != "win32":
            from fleetward.agent.platforms.posix_terminal import PosixTerminal

            return PosixTerminal(launch, self.account_options(launch.account))
        else:
            raise OSError("there are no ptys on Windows")

    def interrupt(self, pid: int, *, hard: bool = False) -> None:
        """A signal to the process group."""
        if sys.platform != "win32":
            try:
                os.killpg(pid, signal.SIGQUIT if hard else signal.SIGINT)
            except (ProcessLookupError, PermissionError):
                pass


def hashed(text: str) -> str:
    """The hash under which a fact about this machine leaves it."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def output_of(*command: str) -> str:
    """What a system's own program prints; empty when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
