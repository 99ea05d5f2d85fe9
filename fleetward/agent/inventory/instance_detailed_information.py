"""AWS:InstanceDetailedInformation: the processor and the kernel."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetward.agent import platforms
from fleetward.agent.inventory.programs import objects_of_powershell, printed_by
from fleetward.agent.inventory.rows import Row, row

CPUINFO = Path("/proc/cpuinfo")
PROCESSORS = Path("/sys/devices/system/cpu")
SYSCTL = (
    "machdep.cpu.brand_string",
    "hw.cpufrequency",
    "hw.logicalcpu",
    "hw.physicalcpu",
    "hw.packages",
)
PROCESSORS_OF_WINDOWS = (
    "Get-CimInstance Win32_Processor | Select-Object Name, MaxClockSpeed, NumberOfLogicalProcessors, NumberOfCores"
)
SYSTEM_OF_WINDOWS = (
    "Get-CimInstance Win32_OperatingSystem | Select-Object Version, ServicePackMajorVersion, ServicePackMinorVersion"
)


def gather(asked: str = "") -> list[Row]:
    """One row."""
    system = platforms.current().platform_type
    if system == "Windows":
        return [from_windows(objects_of_powershell(PROCESSORS_OF_WINDOWS), objects_of_powershell(SYSTEM_OF_WINDOWS))]
    if system == "MacOS":
        return [from_sysctl(printed_by("sysctl", *SYSCTL) or "", platform.release())]
    cores = {path.parent.parent.name: _core(path.parent) for path in PROCESSORS.glob("cpu[0-9]*/topology/core_id")}
    return [from_cpuinfo(CPUINFO.read_text(errors="replace"), cores, platform.release())]


def from_cpuinfo(cpuinfo: str, cores: Mapping[str, tuple[str, str]], kernel: str) -> Row:
    """The row of a Linux: `cores` has socket and core for each processor that runs, from sysfs."""
    blocks = [_fields(block) for block in cpuinfo.split("\n\n") if "processor" in block]
    first = blocks[0] if blocks else {}
    processors = len(cores) or len(blocks)
    sockets = len({socket for socket, _ in cores.values()})
    count = len(set(cores.values()))
    speed = first.get("cpu MHz", "").partition(".")[0]
    model = first.get("model name") or first.get("Processor") or first.get("cpu model") or ""
    return _row(model, speed, processors, sockets or 1, count or processors, kernel)


def from_sysctl(printed: str, kernel: str) -> Row:
    """The row of a macOS, from sysctl's `name: value` lines; Apple's own processors do not tell their speed."""
    value = _fields(printed)
    speed = int(value.get("hw.cpufrequency") or 0) // 1_000_000
    logical, physical = int(value.get("hw.logicalcpu") or 0), int(value.get("hw.physicalcpu") or 0)
    sockets = int(value.get("hw.packages") or 1)
    return _row(value.get("machdep.cpu.brand_string", ""), str(speed or ""), logical, sockets, physical, kernel)


def from_windows(processors: list[Mapping[str, Any]], systems: list[Mapping[str, Any]]) -> Row:
    """The row of a Windows: one object for each socket, one for the system."""
    first = processors[0] if processors else {}
    system = systems[0] if systems else {}
    logical = sum(int(each.get("NumberOfLogicalProcessors") or 0) for each in processors)
    physical = sum(int(each.get("NumberOfCores") or 0) for each in processors)
    found = _row(
        str(first.get("Name") or "").strip(),
        str(first.get("MaxClockSpeed") or ""),
        logical,
        len(processors),
        physical,
        str(system.get("Version") or ""),
    )
    major, minor = system.get("ServicePackMajorVersion") or 0, system.get("ServicePackMinorVersion") or 0
    return found | {"OSServicePack": f"{major}.{minor}"}


def _row(model: str, speed: str, processors: int, sockets: int, cores: int, kernel: str) -> Row:
    return row(
        {
            "CPUModel": model,
            "CPUSpeedMHz": speed,
            "CPUs": processors,
            "CPUSockets": sockets,
            "CPUCores": cores,
            "CPUHyperThreadEnabled": processors > cores,
            "OSServicePack": "",
            "KernelVersion": kernel,
        }
    )


def _fields(lines: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _core(topology: Path) -> tuple[str, str]:
    socket = (topology / "physical_package_id").read_text().strip()
    return socket, (topology / "core_id").read_text().strip()
