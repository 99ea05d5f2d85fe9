"""`fleetward node`: whether a node is still the machine that joined, and what to do when it may not be."""

from __future__ import annotations

from typing import Annotated, Any

import typer

program = typer.Typer(no_args_is_help=True, help="Trust in nodes: fingerprints, quarantine, keys.")
Node = Annotated[str, typer.Argument(help="Id of the node, mi-…")]


@program.command("trust")
def trust(node_id: Node) -> None:
    """Show how the node's identity stands."""
    _show("DescribeNodeTrust", node_id)


@program.command("approve")
def approve(node_id: Node) -> None:
    """Accept the node's changed fingerprint."""
    _show("ApproveNode", node_id)


@program.command("release")
def release(node_id: Node) -> None:
    """End the node's quarantine, after the other holder of its key was joined anew."""
    _show("ReleaseNode", node_id)


@program.command("rotate-key")
def rotate_key(node_id: Node) -> None:
    """Have the node make a new key when it next asks for credentials."""
    _show("RotateNodeKey", node_id)


def _show(operation: str, node_id: str) -> None:
    from fleetward.cli.api import Api

    state: dict[str, Any] = Api().call(operation, {"InstanceId": node_id})
    print(f"node          {state['InstanceId']}")
    print(f"fingerprint   {state['FingerprintState']}")
    print(f"quarantined   {state['Reason'] if state['Quarantined'] else 'no'}")
    print(f"key rotation  {'asked for' if state['KeyRotationRequested'] else 'not asked for'}")
