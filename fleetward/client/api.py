"""Signed calls to one control plane, by the endpoint and keys given or by the AWS profile `aws` would use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fleetward.client.errors import Misconfigured, Refused, Unreachable, plain
from fleetward.protocol import sigv4
from fleetward.protocol.sigv4 import Credentials

CONNECT_SECONDS, ANSWER_SECONDS = 10, 60
JSON_TYPE = "application/x-amz-json-1.1"
SIGNED_AS = {"AmazonSSM": "ssm", "Fleetward": "ssm", "TrentService": "kms"}


@dataclass(frozen=True)
class Access:
    """Where a control plane is and who calls it.

    `credentials` is asked before each call, so that keys that are renewed meanwhile are used; `ca` is a file of
    certificates to trust instead of the system's.
    """

    endpoint: str
    region: str
    credentials: Callable[[], Credentials]
    ca: str | None = None


def access_of_profile() -> Access:
    """What the AWS environment variables and profile say; Misconfigured when that is no control plane of ours."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    session = botocore.session.Session()
    try:
        client = session.create_client("ssm")
        found = session.get_credentials()
    except BotoCoreError as fault:
        raise Misconfigured(f"{fault} See the README for an AWS profile that points here.") from fault
    if found is None:
        raise Misconfigured("no AWS credentials were found; set AWS_PROFILE or the AWS_* variables")
    if ".amazonaws.com" in client.meta.endpoint_url:
        raise Misconfigured("the AWS profile points to AWS itself; set AWS_ENDPOINT_URL or endpoint_url in the profile")

    def credentials() -> Credentials:
        try:
            frozen = found.get_frozen_credentials()
        except BotoCoreError as fault:
            raise Misconfigured(plain(str(fault))) from fault
        return Credentials(str(frozen.access_key), str(frozen.secret_key), frozen.token)

    credentials()
    ca = session.get_config_variable("ca_bundle")
    return Access(client.meta.endpoint_url, client.meta.region_name, credentials, ca or None)


class Api:
    """Calls that wait for their answer; Refused when it is no, Unreachable without one."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def call(self, target: str, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """An operation of the service whose `X-Amz-Target` begins with `target`: AmazonSSM, TrentService, Fleetward."""
        headers = {"Content-Type": JSON_TYPE, "X-Amz-Target": f"{target}.{operation}"}
        body, _ = self._send("POST", "/", "", json.dumps(members).encode(), headers, SIGNED_AS[target])
        try:
            answer = json.loads(body or b"{}")
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unreachable(f"what answers at {self.access.endpoint} is no control plane")
        return answer

    def pieces(self, path: str) -> Iterator[bytes]:
        """A kept file, piece by piece."""
        offset, size = 0, 1
        while offset < size:
            body, headers = self._send("GET", path, f"offset={offset}", b"", {}, "ssm")
            size = int(headers.get("x-fleetward-size", "0"))
            if not body:
                return
            yield body
            offset += len(body)

    def _send(
        self, method: str, path: str, query: str, body: bytes, headers: dict[str, str], service: str
    ) -> tuple[bytes, Mapping[str, str]]:
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        access = self.access
        sent = {**headers, "Host": urlsplit(access.endpoint).netloc}
        sent |= sigv4.sign_headers(
            access.credentials(),
            method=method,
            url_path=path,
            query=query,
            headers=sent,
            body=body,
            region=access.region,
            service=service,
            now=datetime.now(UTC),
        )
        url = f"{access.endpoint.rstrip('/')}{path}" + (f"?{query}" if query else "")
        trusted: Any = access.ca or True
        times: Any = (CONNECT_SECONDS, ANSWER_SECONDS)
        request = AWSRequest(method=method, url=url, data=body, headers=sent).prepare()
        try:
            proxies = get_environ_proxies(url)
            session = URLLib3Session(verify=trusted, proxies=proxies, timeout=times)
            answer = session.send(request)
        except (BotoCoreError, OSError) as fault:
            raise Unreachable(plain(str(fault))) from fault
        content: bytes = answer.content
        if answer.status_code >= 400:
            raise _refusal(content, answer.status_code)
        return content, answer.headers


def _refusal(content: bytes, status: int) -> Refused:
    try:
        fault = json.loads(content)
        message = fault.get("message") or fault.get("Message") or ""
        return Refused(str(fault["__type"]).rpartition("#")[2], str(message), status)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = content.decode(errors="replace")[:500].strip() or f"the server refused with status {status}"
        return Refused("", said, status)
