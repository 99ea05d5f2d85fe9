"""Library: the AWS-owned documents, written afresh; one file per document.

They live in code, so an upgrade of the server may change them. Therefore none may hold a hash, an address or a
certificate: nothing on the fleet depends on their text staying the same (DESIGN 3.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetward.server.ssm.library import (
    gather_software_inventory,
    noop,
    refresh_association,
    run_document,
    run_power_shell_script,
    run_remote_script,
    run_shell_script,
    start_interactive_command,
    start_non_interactive_command,
    start_port_forwarding_session,
    start_port_forwarding_session_to_remote_host,
    start_port_forwarding_session_to_socket,
    start_ssh_session,
)


@dataclass(frozen=True, slots=True)
class Written:
    """A document as its file has it: name and content, of type Command unless the file names another."""

    name: str
    content: Mapping[str, Any]
    document_type: str = "Command"


WRITTEN = (
    Written(gather_software_inventory.NAME, gather_software_inventory.DOCUMENT, "Policy"),
    Written(noop.NAME, noop.DOCUMENT),
    Written(refresh_association.NAME, refresh_association.DOCUMENT),
    Written(run_document.NAME, run_document.DOCUMENT),
    Written(run_power_shell_script.NAME, run_power_shell_script.DOCUMENT),
    Written(run_remote_script.NAME, run_remote_script.DOCUMENT),
    Written(run_shell_script.NAME, run_shell_script.DOCUMENT),
    Written(start_interactive_command.NAME, start_interactive_command.DOCUMENT, "Session"),
    Written(start_non_interactive_command.NAME, start_non_interactive_command.DOCUMENT, "Session"),
    Written(start_port_forwarding_session.NAME, start_port_forwarding_session.DOCUMENT, "Session"),
    Written(
        start_port_forwarding_session_to_remote_host.NAME,
        start_port_forwarding_session_to_remote_host.DOCUMENT,
        "Session",
    ),
    Written(start_port_forwarding_session_to_socket.NAME, start_port_forwarding_session_to_socket.DOCUMENT, "Session"),
    Written(start_ssh_session.NAME, start_ssh_session.DOCUMENT, "Session"),
)
"""Every AWS-owned document, in order of name."""
