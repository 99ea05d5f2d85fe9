"""macOS: sysctl, ioreg and launchd. Written with care, not yet run on a real machine: docs/untested.md."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from fleetward.agent.platforms.posix import Posix, hashed, output_of

if TYPE_CHECKING:
    from fleetward.protocol.document.plan import PlatformType


LABEL = "com.fleetward.agent"
UNIT = Path(f"/Library/LaunchDaemons/{LABEL}.plist")


class MacOS(Posix):
    """macOS 12 and later."""

    platform_type: PlatformType = "MacOS"
    default_language = "en_US.UTF-8"

    def add_account_command(self, name: str) -> list[str]:
        """The command that makes an account with a home; nobody can log in with it, for its password is random."""
        password = secrets.token_urlsafe(24)
        return ["sysadminctl", "-addUser", name, "-home", f"/Users/{name}", "-password", password]

    def name_and_version(self) -> tuple[str, str]:
        """By sw_vers: ("macOS", "14.5")."""
        return output_of("sw_vers", "-productName") or "macOS", output_of("sw_vers", "-productVersion")

    def machine_id(self) -> str:
        """The IOPlatformUUID."""
        for line in output_of("ioreg", "-rd1", "-c", "IOPlatformExpertDevice").splitlines():
            if "IOPlatformUUID" in line:
                return line.rpartition("=")[2].strip(' "')
        return ""

    def hardware(self) -> dict[str, str]:
        """Hashes of machine id, processor, memory and model."""
        return {
            "machine-id": hashed(self.machine_id()),
            "processor-hash": hashed(output_of("sysctl", "-n", "machdep.cpu.brand_string")),
            "memory-hash": hashed(output_of("sysctl", "-n", "hw.memsize")),
            "system-hash": hashed(output_of("sysctl", "-n", "hw.model")),
        }

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return output_of("sysctl", "-n", "kern.bootsessionuuid") or output_of("sysctl", "-n", "kern.boottime")

    def reboot(self) -> None:
        """By shutdown."""
        subprocess.run(["/sbin/shutdown", "-r", "now"], check=False, timeout=60, stdin=subprocess.DEVNULL)

    def process_mark(self, pid: int) -> str:
        """When the process started, as ps says it."""
        return output_of("ps", "-o", "lstart=", "-p", str(pid))

    def install_service(self, command: list[str], folder: Path) -> str:
        """Write and load a launch daemon."""
        import plistlib

        plist = {
            "Label": LABEL,
            "ProgramArguments": command,
            "RunAtLoad": True,
            "KeepAlive": True,
            "Umask": 0o077,
            "StandardErrorPath": str(folder / "agent.log"),
        }
        UNIT.write_bytes(plistlib.dumps(plist))
        UNIT.chmod(0o644)
        subprocess.run(["launchctl", "bootout", f"system/{LABEL}"], check=False, capture_output=True, timeout=60)
        done = subprocess.run(
            ["launchctl", "bootstrap", "system", str(UNIT)], check=False, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise OSError(f"launchctl bootstrap: {done.stderr.strip()[:300]}")
        return f"{UNIT} is loaded"

    def remove_service(self, folder: Path) -> None:
        """Unload the launch daemon and remove its file, if it runs the agent of this folder."""
        import plistlib

        try:
            words = plistlib.loads(UNIT.read_bytes()).get("ProgramArguments", [])
        except (OSError, ValueError):
            return
        if str(folder) in words:
            subprocess.run(["launchctl", "bootout", f"system/{LABEL}"], check=False, capture_output=True, timeout=60)
            UNIT.unlink(missing_ok=True)
