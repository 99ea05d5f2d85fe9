"""`fleetward server --install`: the server as a service of systemd."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetward.cli.failure import Failure

UNIT = "fleetward-server.service"
UNIT_TEXT = """\
[Unit]
Description=Fleetward server
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStopSec=30
LimitNOFILE=1048576
LimitCORE=0
UMask=0077
{user}NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictSUIDSGID=yes
ReadWritePaths={data}

[Install]
WantedBy=multi-user.target
"""
USER_TEXT = """\
User={user}
AmbientCapabilities=CAP_NET_BIND_SERVICE
"""


def install(given: Mapping[str, Any], config: Path | None) -> str:
    """Write, enable and start the unit of a server with these options; the sentence that says what was done."""
    from fleetward.agent.platforms import systemd
    from fleetward.server import settings

    chosen = settings.load(given, config)
    if chosen.ephemeral:
        raise Failure("an ephemeral server is not installed: its data need not outlive it", 2)
    if named := sorted(name for name in os.environ if name.startswith("FLEETWARD_")):
        raise Failure(
            f"{named[0]} is set here, and the service would not have it: give an option, or a --config FILE", 2
        )
    data = chosen.data.absolute()
    unit = systemd.FOLDER / UNIT
    if unit.exists() and systemd.quoted(str(data)) not in unit.read_text():
        raise Failure(f"{unit} runs a server on another folder: remove it first")
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return systemd.install(UNIT, unit_text(command(given, config, data), data))


def command(given: Mapping[str, Any], config: Path | None, data: Path) -> list[str]:
    """The words that start a server with these options, wherever it is started."""
    words = [sys.executable, "-m", "fleetward.cli", "server", "--data", str(data)]
    if config is not None:
        words += ["--config", str(config.absolute())]
    for name, value in given.items():
        if name == "data" or value is None or value is False:
            continue
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [word for each in values for word in (option, str(each))]
    return words


def unit_text(words: Sequence[str], data: Path) -> str:
    """The unit; it runs as the owner of the data folder, who may also take ports below 1024."""
    from fleetward.agent.platforms import systemd

    owner = data.owner()
    user = "" if owner == "root" else USER_TEXT.format(user=owner)
    return UNIT_TEXT.format(command=systemd.command_line(words), user=user, data=systemd.quoted(str(data)))
