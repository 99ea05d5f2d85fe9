"""OpenSSH: a server of Debian's openssh-server on a free loopback port, with keys and a configuration of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from bench.processes import Program, free_port

START_SECONDS = 10.0
SEPARATION = Path("/run/sshd")
"""What sshd wants to find when root starts it."""


def is_installed() -> bool:
    """Whether both halves are on this machine."""
    return _sshd() is not None and shutil.which("ssh") is not None


def _sshd() -> str | None:
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@contextlib.asynccontextmanager
async def openssh(scratch: Path) -> AsyncIterator[list[str]]:
    """The arguments of an `ssh` that gets in, but for what comes after the host; sshd runs for the block."""
    folder = scratch / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    authorized = folder / "authorized_keys"
    authorized.write_text((folder / "user.pub").read_text())
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nAuthorizedKeysFile {authorized}\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
        "PrintMotd no\nPrintLastLog no\nAllowTcpForwarding yes\n"
    )
    if os.geteuid() == 0:
        SEPARATION.mkdir(mode=0o755, exist_ok=True)
    server = Program(str(_sshd()), "-D", "-e", "-f", str(config), log=folder / "sshd.log")
    await server.start()
    user = pwd.getpwuid(os.geteuid()).pw_name
    options = [
        "StrictHostKeyChecking=no",
        f"UserKnownHostsFile={folder / 'known'}",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
    ]
    client = ["ssh", "-F", "none", "-q", "-i", str(folder / "user"), "-p", str(port)]
    client += [part for option in options for part in ("-o", option)]
    try:
        await _until_open(port)
        yield [*client, f"{user}@127.0.0.1"]
    finally:
        await server.end()


async def _until_open(port: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
