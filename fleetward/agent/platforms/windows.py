"""Windows: the registry, PowerShell and the task scheduler. Not yet run on a real machine: docs/untested.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fleetward.agent.platforms.posix import hashed, output_of

if TYPE_CHECKING:
    from fleetward.agent.platforms.account import Account
    from fleetward.agent.platforms.terminal import Launch, Terminal
    from fleetward.protocol.document.plan import PlatformType


TASK = "FleetwardAgent"
CURRENT_VERSION = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion"


class Windows:
    """Windows Server 2016, Windows 10 and later."""

    platform_type: PlatformType = "Windows"

    def name_and_version(self) -> tuple[str, str]:
        """As the registry says it: ("Windows Server 2022 Standard", "10.0.20348")."""
        name = _registry(CURRENT_VERSION, "ProductName") or "Windows"
        build = _registry(CURRENT_VERSION, "CurrentBuildNumber")
        major = _registry(CURRENT_VERSION, "CurrentMajorVersionNumber") or "10"
        minor = _registry(CURRENT_VERSION, "CurrentMinorVersionNumber") or "0"
        return name, f"{major}.{minor}.{build}"

    def machine_id(self) -> str:
        """The MachineGuid that every installation gets."""
        return _registry(r"SOFTWARE\Microsoft\Cryptography", "MachineGuid")

    def hardware(self) -> dict[str, str]:
        """Hashes of machine id and processor."""
        return {
            "machine-id": hashed(self.machine_id()),
            "processor-hash": hashed(os.environ.get("PROCESSOR_IDENTIFIER", "")),
            "system-hash": hashed(_registry(r"HARDWARE\DESCRIPTION\System\BIOS", "SystemProductName")),
        }

    def boot_id(self) -> str:
        """When the system was started."""
        question = "(Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToFileTimeUtc()"
        return output_of("powershell", "-NoProfile", "-NonInteractive", "-Command", question)

    def reboot(self) -> None:
        """By shutdown."""
        subprocess.run(["shutdown", "/r", "/t", "0", "/f"], check=False, timeout=60, stdin=subprocess.DEVNULL)

    def session_options(self) -> dict[str, Any]:
        """A process group without a window."""
        group, no_window = 0x0000_0200, 0x0800_0000  # CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW
        return {"creationflags": group | no_window}

    def kill_tree(self, pid: int) -> None:
        """By taskkill, which follows the parents' ids."""
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], check=False, capture_output=True, timeout=60)

    def process_mark(self, pid: int) -> str:
        """When the process started."""
        question = f"(Get-Process -Id {pid}).StartTime.ToFileTimeUtc()"
        return output_of("powershell", "-NoProfile", "-NonInteractive", "-Command", question)

    def lock(self, path: Path) -> IO[bytes] | None:
        """A lock on the first byte."""
        file = path.open("ab")
        if sys.platform == "win32":
            import msvcrt

            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError:
                file.close()
                return None
        return file

    def shell_command(self, script: Path) -> list[str]:
        """There is no such action on Windows; documents skip it before it gets here."""
        raise OSError("aws:runShellScript does not exist on Windows")

    def powershell_command(self, script: Path, environment: Mapping[str, str]) -> list[str] | None:
        """Windows PowerShell, which every Windows has."""
        program = _powershell(environment)
        return [program, "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-File", str(script)]

    def may_change_account(self) -> bool:
        """No: sessions run as SYSTEM, as the agent does (Ours; the official agent makes an administrator, ssm-user)."""
        return False

    def find_account(self, name: str) -> Account | None:
        """Nobody's: run-as is for Linux and macOS alone."""
        return None

    def default_account(self) -> Account | None:
        """The agent's own."""
        return None

    def session_environment(self, account: Account | None) -> dict[str, str]:
        """The system's variables, without those of this agent and of AWS's programs."""
        secret = ("FLEETWARD_", "AWS_", "HTTP_PROXY", "HTTPS_PROXY")
        return {name: value for name, value in os.environ.items() if not name.upper().startswith(secret)}

    def session_folder(self, account: Account | None) -> str:
        """The system's."""
        return rf"{_root(os.environ)}\System32"

    def session_shell(self, commands: str | None = None) -> list[str]:
        """Windows PowerShell."""
        program = _powershell(os.environ)
        return [program, "-NoLogo"] if commands is None else [program, "-NoLogo", "-Command", commands]

    def split_command(self, commands: str) -> str:
        """As it is: Windows programs split their lines themselves."""
        return commands

    def account_options(self, account: Account | None) -> dict[str, Any]:
        """None."""
        return {}

    def open_terminal(self, launch: Launch) -> Terminal:
        """In a pseudo console."""
        if sys.platform == "win32":
            from fleetward.agent.platforms.windows_terminal import WindowsTerminal

            return WindowsTerminal(launch, self.kill_tree)
        else:
            raise OSError("there are no pseudo consoles but on Windows")

    def interrupt(self, pid: int, *, hard: bool = False) -> None:
        """Ctrl-Break, which is all that a group of processes can be sent."""
        if sys.platform == "win32":
            import signal

            try:
                os.kill(pid, signal.CTRL_BREAK_EVENT)
            except OSError:
                pass

    def install_service(self, command: list[str], folder: Path) -> str:
        """A task that starts with the system, as SYSTEM, and runs without limit."""
        line = subprocess.list2cmdline(command)
        create = ["schtasks", "/Create", "/F", "/TN", TASK, "/SC", "ONSTART", "/RU", "SYSTEM", "/RL", "HIGHEST"]
        for arguments in ([*create, "/TR", line], ["schtasks", "/Run", "/TN", TASK]):
            done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                raise OSError(f"schtasks: {done.stderr.strip()[:300]}")
        subprocess.run(
            ["icacls", str(folder), "/inheritance:r", "/grant:r", "SYSTEM:(OI)(CI)F"], check=False, timeout=60
        )
        return f"the task {TASK} starts with the system and is running"

    def remove_service(self, folder: Path) -> None:
        """End and delete the task, if it runs the agent of this folder."""
        if str(folder) not in output_of("schtasks", "/Query", "/TN", TASK, "/XML"):
            return
        for arguments in (["/End"], ["/Delete", "/F"]):
            subprocess.run(["schtasks", *arguments, "/TN", TASK], check=False, capture_output=True, timeout=60)


def _root(environment: Mapping[str, str]) -> str:
    return environment.get("SystemRoot", r"C:\Windows")


def _powershell(environment: Mapping[str, str]) -> str:
    return rf"{_root(environment)}\System32\WindowsPowerShell\v1.0\powershell.exe"


def _registry(key: str, name: str) -> str:
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                return str(winreg.QueryValueEx(opened, name)[0])
        except OSError:
            pass
    return ""
