"""Inventory: what nodes have (software, files, network …), by type; listed by node, searched and counted by fleet."""

from fleetward.server.ssm.inventory import fold, listing, membership, put

__all__ = ["fold", "listing", "membership", "put"]
