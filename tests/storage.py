"""Fixtures of S3: a client of the session's server, and a bucket of the test's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleetward.protocol.sigv4 import Credentials
from tests.serving import Answer, ServerProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def s3(serving: ServerProcess) -> Any:
    """A boto3 client of root."""
    return serving.client("s3")


def new_bucket(s3: Any) -> str:
    """A bucket nobody has."""
    name = f"bucket-{next(_numbers)}-{id(s3)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    """An empty bucket."""
    name = new_bucket(s3)
    yield name
    empty(s3, name)


def empty(s3: Any, name: str) -> None:
    """Take everything out of a bucket, and the bucket away."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if found:
            named = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            s3.delete_objects(Bucket=name, Delete={"Objects": named})
    s3.delete_bucket(Bucket=name)


def refused(code: str, call: Callable[..., Any], status: int = 0, **request: Any) -> Any:
    """The error's whole response, whose code must be this one."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    response = caught.value.response
    assert response["Error"]["Code"] == code, response
    assert not status or response["ResponseMetadata"]["HTTPStatusCode"] == status
    return response


def limited(serving: ServerProcess, *statements: Mapping[str, Any]) -> Credentials:
    """Keys that may do what these statements allow, and nothing else."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return serving.role("Administrator", Policy=policy)


def allow(actions: str | list[str], resources: str | list[str], **more: Any) -> dict[str, Any]:
    """A statement."""
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


def unsigned(serving: ServerProcess, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """A request that nobody signed."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return serving.send(method, path, body, sent, None, service="s3")


def signed(
    serving: ServerProcess, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None,
    keys: Credentials | None = None, **options: Any,
) -> Answer:  # fmt: skip
    """A request signed for S3."""
    return serving.send(method, path, body, dict(headers or {}), keys or serving.root, service="s3", **options)
