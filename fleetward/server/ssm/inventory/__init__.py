"""Inventory: what nodes have (software, files, network …), by type; listed by node, searched and counted by fleet."""

from fleetward.server.ssm.inventory import deletion, fold, listing, membership, put

__all__ = ["deletion", "fold", "listing", "membership", "put"]
