"""The guides' examples, run as they stand there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "testing-ssm-code.md"


def test_the_example_for_testing_ssm_code_works(tmp_path: Path) -> None:
    """Server, reset, join, command and result, by the two files of the guide; the port is one that is free here."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared, tests = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "conftest.py").write_text(shared.replace("8089", port))
    (tmp_path / "test_mine.py").write_text(tests)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
