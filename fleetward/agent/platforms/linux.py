"""Linux: /proc, /sys, os-release and systemd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from fleetward.agent.platforms.posix import Posix, hashed

if TYPE_CHECKING:
    from fleetward.protocol.document.plan import PlatformType


UNIT = "fleetward-agent.service"

# Scripts are to change the machine, package managers, daemons and set-user-id programs included: the unit closes only
# what no script needs. What a script left running survives a restart of the agent, and its memory use does not end it.
UNIT_TEXT = """\
[Unit]
Description=Fleetward agent
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={command}
Restart=always
RestartSec=5
TimeoutStopSec=40
KillMode=process
OOMPolicy=continue
KeyringMode=private
LimitCORE=0

[Install]
WantedBy=multi-user.target
"""


class Linux(Posix):
    """Any Linux with a /proc; systemd is needed only to install the service."""

    platform_type: PlatformType = "Linux"

    def name_and_version(self) -> tuple[str, str]:
        """NAME and VERSION_ID of os-release."""
        for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
            facts = read_os_release(_text(path))
            if facts:
                return facts.get("NAME", "Linux"), facts.get("VERSION_ID", "")
        return "Linux", os.uname().release if hasattr(os, "uname") else ""

    def machine_id(self) -> str:
        """systemd's machine id, or D-Bus's."""
        return _text(Path("/etc/machine-id")).strip() or _text(Path("/var/lib/dbus/machine-id")).strip()

    def hardware(self) -> dict[str, str]:
        """Hashes of machine id, processor, memory, firmware and network addresses."""
        firmware = Path("/sys/class/dmi/id")
        processor = [line for line in _text(Path("/proc/cpuinfo")).splitlines() if line.startswith("model name")]
        memory = _text(Path("/proc/meminfo")).partition("\n")[0]
        cards = sorted(_text(path).strip() for path in Path("/sys/class/net").glob("*/address"))
        return {
            "machine-id": hashed(self.machine_id()),
            "processor-hash": hashed("\n".join(processor)),
            "memory-hash": hashed(memory),
            "bios-hash": hashed(_text(firmware / "bios_version") + _text(firmware / "bios_date")),
            "system-hash": hashed(_text(firmware / "product_uuid") or _text(firmware / "product_name")),
            "macaddr-info": hashed("\n".join(card for card in cards if card.strip("0:"))),
        }

    def boot_id(self) -> str:
        """The kernel's id of this boot; in containers, which share it, also when the first process began."""
        return f"{_text(Path('/proc/sys/kernel/random/boot_id')).strip()}/{self.process_mark(1)}"

    def reboot(self) -> None:
        """By systemd or, without it, by shutdown."""
        program = ["systemctl", "reboot"] if Path("/run/systemd/system").is_dir() else ["shutdown", "-r", "now"]
        subprocess.run(program, check=False, timeout=60, stdin=subprocess.DEVNULL)

    def process_mark(self, pid: int) -> str:
        """When the process started, in the kernel's ticks since boot."""
        fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        return fields[19] if len(fields) > 19 else ""

    def install_service(self, command: list[str], folder: Path) -> str:
        """Write, enable and start a systemd unit."""
        from fleetward.agent.platforms import systemd  # the resident process never does this

        return systemd.install(UNIT, unit_text(command))

    def remove_service(self, folder: Path) -> None:
        """Stop and disable the unit and remove its file, if it runs the agent of this folder."""
        from fleetward.agent.platforms import systemd

        if systemd.quoted(str(folder)) in _text(systemd.FOLDER / UNIT):
            systemd.remove(UNIT)


def unit_text(command: list[str]) -> str:
    """The systemd unit that runs a command."""
    from fleetward.agent.platforms import systemd

    return UNIT_TEXT.format(command=systemd.command_line(command))


def read_os_release(text: str) -> dict[str, str]:
    """NAME=value lines, quotes taken off."""
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
