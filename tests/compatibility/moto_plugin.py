"""A pytest plugin for moto's own tests, loaded into their process alone: `mock_aws` speaks to a Fleetward server.

moto's server mode does most of it (TEST_SERVER_MODE, TEST_SERVER_MODE_ENDPOINT). Here: an emptied server is an
ephemeral one that was reset, calls are signed with keys that the server knows, and each test's outcome is written down
along with how many requests the server answered in it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import botocore.httpsession
import requests
from moto.core.config import default_user_config
from moto.core.models import ServerModeMockAWS

ENDPOINT = os.environ["TEST_SERVER_MODE_ENDPOINT"]
OUTCOMES = Path(os.environ["FLEETWARD_OUTCOMES"])
RESET = f"{ENDPOINT}/_fleetward/reset"

_answered: Counter[str] = Counter()
_outcomes: dict[str, dict[str, Any]] = {}
_running = ""
_dirty = True
_session = requests.Session()


def pytest_configure(config):  # type: ignore[no-untyped-def]
    """Before moto's tests are imported."""
    default_user_config["core"]["mock_credentials"] = False
    ServerModeMockAWS.reset = _reset  # type: ignore[method-assign]
    _count(botocore.httpsession.URLLib3Session)
    _count(requests.Session)


def pytest_collection_modifyitems(config, items):  # type: ignore[no-untyped-def]
    """Leave out what is not to run."""
    left_out = frozenset(json.loads(os.environ["FLEETWARD_LEFT_OUT"]))
    items[:] = [item for item in items if item.nodeid not in left_out]


def pytest_runtest_logstart(nodeid):  # type: ignore[no-untyped-def]
    """The test that requests belong to from now on."""
    global _running
    _running = nodeid


def pytest_runtest_logreport(report):  # type: ignore[no-untyped-def]
    """Keep the worst of setup, call and teardown, and why."""
    kept = _outcomes.setdefault(report.nodeid, {"outcome": "passed", "why": "", "seconds": 0.0})
    kept["seconds"] += report.duration
    if report.outcome == "passed" or kept["outcome"] == "failed":
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    if isinstance(report.longrepr, tuple):
        kept["why"] = str(report.longrepr[2])
    else:
        kept["why"] = crash.message if crash is not None else str(report.longrepr)[-400:]
    kept["outcome"] = report.outcome


def pytest_sessionfinish():  # type: ignore[no-untyped-def]
    """Hand the outcomes over."""
    for name, kept in _outcomes.items():
        kept["answered"] = _answered[name]
    OUTCOMES.write_text(json.dumps(_outcomes))


def _reset(self: ServerModeMockAWS) -> None:
    global _dirty
    if _dirty:
        _session.post(RESET).raise_for_status()
        _dirty = False


def _count(session: type) -> None:
    send = session.send  # type: ignore[attr-defined]

    def counting(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        global _dirty
        if request.url == RESET or not request.url.startswith(ENDPOINT):
            return send(self, request, *args, **options)
        _dirty = True
        answer = send(self, request, *args, **options)
        _answered[_running] += 1
        return answer

    session.send = counting  # type: ignore[attr-defined]
