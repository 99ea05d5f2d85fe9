"""The `aws` command for tests, run in this process for speed: the same program that the script starts."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
import pytest
from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]  # awscli has no stubs
from botocore.loaders import create_loader

from tests.calls import Stage
from tests.serving import REGION, ServerProcess

one_loader = cache(create_loader)
"""Commands read the models that botocore installs; those of one process share what one of them has read."""


@dataclass(frozen=True)
class Ran:
    """How a command went: its exit code, what it printed and what it complained of."""

    code: int
    output: str
    complaints: str


class Aws:
    """The command, configured for a stage's server."""

    def __init__(self, stage: Stage, environment: Mapping[str, str]) -> None:
        self.stage = stage
        self.environment = environment

    def __call__(self, command: str, **options: Any) -> Any:
        """`aws("ssm list-nodes", max_results=5)`: options become `--max-results 5`; the output read."""
        arguments = command.split()
        for name, value in options.items():
            arguments.append("--" + name.replace("_", "-"))
            if value is not True:
                arguments.append(value if isinstance(value, str) else json.dumps(value))
        ran = run(arguments)
        assert ran.code == 0, f"aws {' '.join(arguments)}: {ran.complaints}"
        return json.loads(ran.output) if ran.output.strip() else None


def run(arguments: Sequence[str]) -> Ran:
    """The command with these arguments, in the environment of `configured`."""
    output, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaints):
        try:
            code = create_clidriver().main(list(arguments))
        except SystemExit as left:  # arguments that nobody knows
            code = int(left.code or 0)
    return Ran(code, output.getvalue(), complaints.getvalue())


@contextlib.contextmanager
def configured(server: ServerProcess) -> Iterator[dict[str, str]]:
    """By the environment alone, as the README tells; the whole environment, for processes."""
    chosen = {
        "AWS_ACCESS_KEY_ID": server.root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.root.secret_access_key,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CA_BUNDLE": str(server.ca),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_DEFAULT_OUTPUT": "json",
        "AWS_PAGER": "",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CLI_HISTORY_FILE": os.devnull,
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in chosen.items():
            patched.setenv(name, value)
        patched.setattr(botocore.session, "create_loader", one_loader)
        yield {**os.environ, **chosen}
