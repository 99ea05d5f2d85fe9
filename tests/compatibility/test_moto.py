"""moto's own tests, in its server mode, against a real Fleetward server: an outside measure of the smaller services.

They come from moto's source archive on the Python package index, at the version installed here, into a cache outside
the repository. `moto/<service>.txt` names every test that does not pass, under its reason; the lists are exact: a test
that fails and is not named fails this one, and so does a test that is named and passes. A test in which the server
answered nothing shows nothing, and does not count as passed. Those under a reason that begins with "not run" are left
out.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ACCOUNT, REGION, ServerProcess, StartServer

pytestmark = pytest.mark.slow

VERSION = "5.2.5"
SHA256 = "391857257d5dac144334013c2c10e599def5f0562f553e979160140bd7bd9cf6"
SERVICES = ("kms", "logs", "sts", "iam", "s3", "ssm", "resourcegroups")
TIME_LIMIT = 400
HERE = Path(__file__).parent
NEEDED = re.compile(
    rf"moto-{re.escape(VERSION)}/(tests/(?:[a-z]+\.py|__init__\.py|test_(?:{'|'.join(SERVICES)}|awslambda)/.+))"
)
REGIONS = (
    REGION,
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-northeast-1",
)


@functools.cache
def archive() -> Path:
    """moto's source archive, verified; skipped where there is neither a copy nor an index."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleetward-tests"
    found = folder / f"moto-{VERSION}.tar.gz"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            download(Path(beside))
            (Path(beside) / found.name).replace(found)
    assert hashlib.sha256(found.read_bytes()).hexdigest() == SHA256, f"{found} is not what was pinned"
    return found


def download(folder: Path) -> None:
    """Fetch the archive by pip, which compares the hash before it runs anything of it."""
    (folder / "wanted.txt").write_text(f"moto=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "moto", "--retries", "1", "--timeout", "15", "--require-hashes"]
    done = subprocess.run(
        [*command, "--requirement", "wanted.txt", "--dest", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"moto's source archive: no copy in {folder.parent}, none from the index: {done.stderr[-300:]!r}")


def unpack(folder: Path) -> None:
    """moto's tests alone, so that `import moto` finds what is installed."""
    with tarfile.open(archive()) as packed:
        for member in packed.getmembers():
            if (wanted := NEEDED.fullmatch(member.name)) and member.isfile():
                target = folder / wanted.group(1)
                target.parent.mkdir(parents=True, exist_ok=True)
                content = packed.extractfile(member)
                assert content is not None
                target.write_bytes(content.read())
    (folder / "pytest.ini").write_text("[pytest]\n")


def run(service: str, folder: Path, server: ServerProcess) -> dict[str, dict[str, Any]]:
    """Every test of a service: its outcome, why, how many requests were answered, and how many seconds it took."""
    outcomes = folder / "outcomes.json"
    left_out = [f"tests/test_{service}/{name}" for name, reason in listed(service).items() if not_run(reason)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_", "MOTO_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini", "-p", "moto_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-p", "no:xdist", "--tb=native", "--timeout", "20", f"tests/test_{service}"],
        cwd=folder,
        env=kept
        | {
            "PYTHONPATH": f"{folder}{os.pathsep}{HERE}",
            "TEST_SERVER_MODE": "true",
            "TEST_SERVER_MODE_ENDPOINT": server.url,
            "TESTS_SKIP_REQUIRES_DOCKER": "true",
            "FLEETWARD_OUTCOMES": str(outcomes),
            "FLEETWARD_LEFT_OUT": json.dumps(left_out),
            "AWS_ACCESS_KEY_ID": server.root.access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.root.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CA_BUNDLE": str(server.ca),
            "REQUESTS_CA_BUNDLE": str(server.ca),
        },
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert outcomes.exists(), f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    prefix = f"tests/test_{service}/"
    return {name.removeprefix(prefix): each for name, each in json.loads(outcomes.read_text()).items()}


def listed(service: str) -> dict[str, str]:
    """The tests named in a service's list, with their reasons."""
    return named(HERE / "moto" / f"{service}.txt")


def named(path: Path) -> dict[str, str]:
    """What a list names, each with the reason above it."""
    reasons: dict[str, str] = {}
    reason = ""
    for line in path.read_text().splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            assert reason, f"{line} has no reason"
            assert line not in reasons, f"{line} is named twice"
            reasons[line] = reason
    return reasons


def not_run(reason: str) -> bool:
    """Whether tests are left out: their outcome is one of chance."""
    return reason.startswith("not run")


def test_the_pinned_version_is_the_installed_one() -> None:
    """Tests of one version go with the helpers of the same."""
    assert importlib.metadata.version("moto") == VERSION


@pytest.mark.timeout(TIME_LIMIT + 60)
@pytest.mark.parametrize("service", SERVICES)
def test_motos_tests_pass_but_for_the_named(
    service: str, tmp_path: Path, start_server: StartServer, record_property: Any
) -> None:
    """What fails is named with its reason, and what is named fails."""
    unpack(tmp_path)
    server = start_server(ephemeral="true", account=ACCOUNT, region=",".join(REGIONS), requests_per_principal=1_000_000)
    outcomes = run(service, tmp_path, server)
    reasons = listed(service)
    passed = {name for name, each in outcomes.items() if each["outcome"] == "passed" and each["answered"]}
    record_property("tally", tally(service, passed, outcomes, reasons))
    surprises = [f"{name}: {each['why'] or each['outcome']}" for name, each in outcomes.items()
                 if name not in passed and name not in reasons]  # fmt: skip
    assert not surprises, "\n".join(["not named, and not passed:", *surprises])
    assert not passed & reasons.keys(), f"named, and passed: {sorted(passed & reasons.keys())}"
    gone = {name for name, reason in reasons.items() if not not_run(reason)} - outcomes.keys()
    assert not gone, f"named, and not there: {sorted(gone)}"
    assert not [line for line in server.logged() if line.get("level") == "error"]


def tally(service: str, passed: set[str], outcomes: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """One line for the end of the run."""
    return f"moto's tests of {service}: {len(passed)} of {len(outcomes)} pass, {len(reasons)} are named with a reason"
