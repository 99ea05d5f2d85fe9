"""S3 through the control plane's own address: where output goes, and what an S3 address in a document means.

Buckets stand in the path, not in front of the host name, so that one name and no wildcard of DNS is enough (Ours).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from fleetward.agent.client import unescaped
from fleetward.agent.report import NOWHERE
from fleetward.protocol.document import PlannedStep
from fleetward.protocol.document.describe import output_key

_AWS_HOST = re.compile(r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?s3(?:[.-][a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?")
_KEY = re.compile(r"<Key>([^<]*)</Key>")
_FURTHER = re.compile(r"<NextContinuationToken>([^<]+)</NextContinuationToken>")


class BadLocation(Exception):
    """An address that names no object of S3; one sentence."""


@dataclass(frozen=True, slots=True)
class Location:
    """An object, or all objects whose keys begin with `key` when it is empty or ends in a slash."""

    bucket: str
    key: str

    @property
    def is_folder(self) -> bool:
        """Whether it stands for many objects."""
        return not self.key or self.key.endswith("/")

    @property
    def path(self) -> str:
        """The percent-encoded path under the control plane's address."""
        return f"/{quote(self.bucket, safe='')}/{quote(self.key, safe='/~')}"


def locate(address: Any, own_host: str) -> Location:
    """What an address means: AWS's forms of an S3 URL, `s3://BUCKET/KEY`, or the path form under `own_host`."""
    parts = urlsplit(address if isinstance(address, str) else "")
    host = (parts.hostname or "").lower()
    path = unquote(parts.path).lstrip("/")
    if parts.scheme == "s3":
        return _location(parts.netloc, path)
    found = _AWS_HOST.fullmatch(host)
    if parts.scheme not in ("http", "https") or (found is None and host != own_host.lower()):
        raise BadLocation(f"{str(address)[:200]!r} is not the address of an S3 object")
    if found is not None and found["bucket"]:
        return _location(found["bucket"], path)
    bucket, _, key = path.partition("/")
    return _location(bucket, key)


def _location(bucket: str, key: str) -> Location:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise BadLocation(f"{bucket[:80]!r} is not the name of a bucket")
    return Location(bucket, key)


def output_members(
    content: Mapping[str, Any], node_id: str, command_id: str, schema_version: str, step: PlannedStep
) -> Mapping[str, str]:
    """The members of a step's result that say where its streams go (AP 10.5), by the content of the command.

    Of an association's run, whose id is the association's and a time: PREFIX/NODE/ASSOCIATION/TIME.
    """
    bucket, prefix = content.get("OutputS3BucketName"), content.get("OutputS3KeyPrefix")
    if not isinstance(bucket, str) or not bucket:
        return NOWHERE
    plugin, _, name = output_key(step, schema_version).partition("/")
    start = prefix.strip("/") if isinstance(prefix, str) else ""
    association_id = content.get("AssociationId")
    if association_id:
        run = [node_id, association_id, command_id.removeprefix(f"{association_id}-")]
    else:
        run = [command_id, node_id]
    folder = "/".join(part for part in (start, *run, plugin) if part)
    return {"outputS3BucketName": bucket, "outputS3KeyPrefix": folder, "stepName": name}


def output_location(result: Mapping[str, Any], stream: str) -> Location | None:
    """Where a stream of a step goes, by the step's result."""
    if not result.get("outputS3BucketName"):
        return None
    return Location(result["outputS3BucketName"], f"{result['outputS3KeyPrefix']}/{result['stepName']}/{stream}")


def read_listing(text: str) -> tuple[list[str], str]:
    """The keys in a page of ListObjectsV2 asked for with `encoding-type=url`, and the token of the next page."""
    further = _FURTHER.search(text)
    return [unquote(key) for key in _KEY.findall(text)], unescaped(further[1]) if further else ""
