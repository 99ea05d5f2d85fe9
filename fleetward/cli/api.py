"""The control plane as the command line calls it: by the AWS profile, environment and endpoint `aws` would use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fleetward.cli.failure import Failure
from fleetward.protocol import sigv4


class Api:
    """Signed calls to one control plane."""

    def __init__(self) -> None:
        import botocore.session
        from botocore.exceptions import BotoCoreError

        session = botocore.session.Session()
        try:
            client = session.create_client("ssm")
            credentials = session.get_credentials()
        except BotoCoreError as fault:
            raise Failure(f"{fault} See the README for an AWS profile that points here.") from fault
        if credentials is None:
            raise Failure("no AWS credentials were found; set AWS_PROFILE or the AWS_* variables")
        self._url = client.meta.endpoint_url
        if ".amazonaws.com" in self._url:
            raise Failure("the AWS profile points to AWS itself; set AWS_ENDPOINT_URL or endpoint_url in the profile")
        self._region = client.meta.region_name
        frozen = credentials.get_frozen_credentials()
        self._credentials = sigv4.Credentials(str(frozen.access_key), str(frozen.secret_key), frozen.token)
        self._verify = session.get_config_variable("ca_bundle") or True

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """One of Fleetward's own operations."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Fleetward.{operation}"}
        answer: dict[str, Any] = json.loads(self._send("POST", "/", "", json.dumps(members).encode(), headers)[0])
        return answer

    def pieces(self, path: str) -> Iterator[bytes]:
        """An output, piece by piece; `path` comes from `outputs`."""
        offset, size = 0, 1
        while offset < size:
            body, headers = self._send("GET", path, f"offset={offset}", b"", {})
            size = int(headers.get("x-fleetward-size", "0"))
            if not body:
                return
            yield body
            offset += len(body)

    def _send(
        self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]
    ) -> tuple[bytes, Mapping[str, str]]:
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import HTTPClientError
        from botocore.httpsession import URLLib3Session

        sent = {**headers, "Host": urlsplit(self._url).netloc}
        sent |= sigv4.sign_headers(
            self._credentials,
            method=method,
            url_path=path,
            query=query,
            headers=sent,
            body=body,
            region=self._region,
            service="ssm",
            now=datetime.now(UTC),
        )
        url = f"{self._url}{path}" + (f"?{query}" if query else "")
        request = AWSRequest(method=method, url=url, data=body, headers=sent).prepare()
        try:
            answer = URLLib3Session(verify=self._verify, timeout=60).send(request)
        except HTTPClientError as fault:
            raise Failure(str(fault)) from fault
        content: bytes = answer.content
        if answer.status_code >= 400:
            raise Failure(_sentence(content))
        return content, answer.headers


def _sentence(content: bytes) -> str:
    try:
        fault = json.loads(content)
        return f"{fault['__type']}: {fault['message']}"
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:500].strip() or "the server refused without a reason"
