"""Fleetward: a self-hosted Systems Manager for hybrid fleets."""

__version__ = "0.1.0"
