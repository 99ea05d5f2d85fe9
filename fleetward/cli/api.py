"""The control plane as the command line calls it: by the AWS profile, environment and endpoint `aws` would use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fleetward.cli.failure import Failure
from fleetward.client import api
from fleetward.client.errors import ClientError


class Api:
    """Signed calls to one control plane; a call that does not succeed is a Failure."""

    def __init__(self) -> None:
        with failures():
            self._api = api.Api(api.access_of_profile())

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """One of Fleetward's own operations."""
        with failures():
            return self._api.call("Fleetward", operation, members)

    def ssm(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """An operation of Systems Manager."""
        with failures():
            return self._api.call("AmazonSSM", operation, members)

    def pieces(self, path: str) -> Iterator[bytes]:
        """A kept file, piece by piece."""
        with failures():
            yield from self._api.pieces(path)


@contextmanager
def failures() -> Iterator[None]:
    """What the client cannot do is what the command ends with."""
    try:
        yield
    except ClientError as fault:
        raise Failure(str(fault)) from fault
