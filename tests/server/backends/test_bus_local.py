"""LocalBus: the published checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleetward.server.backends.bus_local import LocalBus
from fleetward.testing.bus_checks import BusChecks


class TestLocalBus(BusChecks):
    @pytest.fixture
    def make_bus(self) -> Callable[[], LocalBus]:
        return LocalBus
