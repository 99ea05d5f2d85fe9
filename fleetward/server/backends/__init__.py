"""Backends: the real implementations of the ports; only server/app.py names one."""
