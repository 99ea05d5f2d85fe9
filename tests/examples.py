"""Examples of properties: how long one takes tells of the machine and not of the code, so that none has a deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("fleetward", deadline=None)
settings.load_profile("fleetward")
