"""Skips, printed with their reasons, in CI only those of a closed list; and what `make quick` leaves out."""

from __future__ import annotations

import os

import pytest

ALLOWED_IN_CI = ("official agent", "session-manager-plugin", "Terraform provider", "/dev/net/tun")

SLOW_MODULES = (
    "agent/sessions/test_command.py",
    "agent/sessions/test_port.py",
    "agent/sessions/test_shell.py",
    "agent/sessions/test_supervisor.py",
    "agent/test_app.py",
    "agent/test_channel.py",
    "agent/test_identity.py",
    "agent/test_trust.py",
    "api/test_aws_command.py",
    "cli/test_access.py",
    "client/test_bridge.py",
    "client/test_shell.py",
    "client/test_tunnel.py",
    "server/backends/test_objects_s3.py",
    "server/backends/test_store_postgres.py",
    "server/edge/test_peer_port.py",
    "server/edge/test_peers.py",
    "server/test_app.py",
    "server/test_migrate.py",
    "server/test_sign_ins_two_servers.py",
)
"""Modules that start many processes; other slow tests carry the mark themselves."""

_skipped: list[tuple[str, str]] = []


def pytest_collection_modifyitems(items):  # type: ignore[no-untyped-def]
    """Mark the slow modules."""
    for item in items:
        if item.path.as_posix().endswith(SLOW_MODULES):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """In CI a skip outside the closed list is a failure."""
    outcome = yield
    report = outcome.get_result()
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if os.environ.get("CI") == "true" and not any(allowed in reason for allowed in ALLOWED_IN_CI):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI, where nothing may be: {reason}"


def pytest_runtest_logreport(report):  # type: ignore[no-untyped-def]
    """Remember what was skipped, wherever it ran."""
    if report.skipped and isinstance(report.longrepr, (tuple, list)):
        _skipped.append((report.nodeid, str(report.longrepr[2])))


def pytest_terminal_summary(terminalreporter):  # type: ignore[no-untyped-def]
    """Print the skips, by name and reason."""
    if _skipped:
        terminalreporter.section("skipped, by name")
        for name, reason in sorted(set(_skipped)):
            terminalreporter.line(f"{name}: {reason}")
    if os.environ.get("CI") == "true":
        terminalreporter.line(f"In CI only these may be skipped: {', '.join(ALLOWED_IN_CI)}.")
