"""Bad input to every operation of S3: an error of S3's form, never a 5xx of ours, and the valid call works on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.exceptions import ClientError, FlexibleChecksumError

from fleetward.protocol.api.model import Shape, load_service
from fleetward.protocol.sigv4 import Credentials
from fleetward.server.s3.capabilities import s3 as service
from tests.calls_s3 import S3_CALLS, Shelf
from tests.serving import ServerProcess
from tests.storage import limited

NAMES = sorted(S3_CALLS)
LONG = "x" * 3000


def call(client: Any, name: str, request: Any) -> Any:
    return client._make_api_call(name, dict(request))


@pytest.fixture
def shelf(s3: Any) -> Shelf:
    return Shelf(s3)


def test_every_operation_has_a_valid_call() -> None:
    assert set(service.operations) == set(S3_CALLS)


@pytest.mark.parametrize("name", NAMES)
def test_the_valid_call_works(s3: Any, shelf: Shelf, name: str) -> None:
    assert call(s3, name, S3_CALLS[name](shelf))["ResponseMetadata"]["HTTPStatusCode"] < 300


def faults(shape: Shape, request: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The request with each member of the header, query or document that it may have set to something odd."""
    bad: list[tuple[str, dict[str, Any]]] = []
    for name, member in shape.members.items():
        if name in ("Bucket", "Key", "Body", "SSECustomerKey") or member.location in ("uri", "headers"):
            continue
        kind = member.shape.kind
        odd: list[Any] = []
        if kind == "string":
            odd = [LONG, "ü<&>", "a" if member.shape.enum else ""]
        elif kind in ("integer", "long"):
            odd = [-1, 2**40, 0]
        elif kind == "structure":
            odd = [{}]
        elif kind == "list":
            odd = [["odd"] * 3] if member.location else [[]]
        bad += [(f"{name} {value!r:.40}", {**request, name: value}) for value in odd]
    return bad


@pytest.mark.parametrize("name", NAMES)
def test_odd_values_are_refused_or_taken_and_never_a_failure(s3: Any, shelf: Shelf, name: str) -> None:
    request = dict(S3_CALLS[name](shelf))
    shape = load_service("s3").operations[name].input
    for label, bad in faults(shape, request) if shape is not None else []:
        try:
            call(s3, name, bad)
            continue
        except ClientError as fault:
            response = fault.response
        except (ValueError, UnicodeError, FlexibleChecksumError):  # the client itself would not send it
            continue
        status, code = response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]
        assert status < 500 or code == "NotImplemented", f"{name} {label}: {response}"
        assert re.fullmatch(r"[A-Za-z0-9]+", code), f"{name} {label}: {code}"
    fresh = Shelf(s3)
    assert call(s3, name, S3_CALLS[name](fresh))["ResponseMetadata"]["HTTPStatusCode"] < 300


@pytest.mark.parametrize("name", NAMES)
def test_those_who_may_nothing_are_denied(serving: ServerProcess, shelf: Shelf, name: str) -> None:
    nothing = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}
    client = serving.client("s3", limited(serving, nothing))
    request = S3_CALLS[name](shelf)
    if name == "DeleteObjects":
        done = call(client, name, request)
        assert [each["Code"] for each in done["Errors"]] == ["AccessDenied"]
        return
    with pytest.raises(ClientError) as caught:
        call(client, name, request)
    assert caught.value.response["Error"]["Code"] in ("AccessDenied", "403")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("CreateBucket", "ListBuckets")])
def test_what_is_in_no_bucket_is_not_found(s3: Any, shelf: Shelf, name: str) -> None:
    request = dict(S3_CALLS[name](shelf))
    with pytest.raises(ClientError) as caught:
        call(s3, name, {**request, "Bucket": "no-such-bucket-at-all"})
    assert caught.value.response["Error"]["Code"] in ("NoSuchBucket", "404")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_secrets_are_refused(serving: ServerProcess, shelf: Shelf, name: str) -> None:
    client = serving.client("s3", Credentials(serving.root.access_key_id, "wrong"))
    with pytest.raises(ClientError) as caught:
        call(client, name, S3_CALLS[name](shelf))
    assert caught.value.response["Error"]["Code"] in ("SignatureDoesNotMatch", "403")
