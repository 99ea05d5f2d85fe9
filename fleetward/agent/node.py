"""The node as its commands see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetward.agent.client import Client
from fleetward.agent.platforms import Platform
from fleetward.agent.refresh import Refresh
from fleetward.agent.state import StateFolder


@dataclass(frozen=True, slots=True)
class Node:
    """The node that steps run on, and its way to the control plane."""

    node_id: str
    region: str
    state: StateFolder
    platform: Platform
    client: Client
    refresh: Refresh = field(default_factory=Refresh)
