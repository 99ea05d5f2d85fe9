"""An S3 bucket, Amazon's or anybody's, as Objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.store import S3Store

from fleetward.server.backends.objects_keys import check_key, check_prefix
from fleetward.server.ports import ObjectInfo, fill
from fleetward.server.settings import SettingsFault

CHUNK_BYTES = 5 * 1024 * 1024
"""The smallest part S3 takes; at most two are held at a time."""

PAGE = 1000
OPTIONS = frozenset({"endpoint", "region", "virtual_hosted"})


class S3Objects:
    """Objects in one bucket, below a prefix.

    `url` is `s3://bucket/prefix?region=…&endpoint=https://…&virtual_hosted=true`. Credentials come from the URL
    (`s3://KEY:SECRET@bucket`), else from AWS_ACCESS_KEY_ID … in the environment, else from the machine's role.
    """

    def __init__(self, url: str) -> None:
        self._store = _store(url)

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store the bytes as one object, replacing; an unfinished upload leaves nothing to be seen."""
        return fill(self.upload(key), chunks)

    def upload(self, key: str) -> S3Upload:
        """One request, or a multipart upload for more than a part."""
        return S3Upload(self._store, check_key(key))

    def open(self, key: str) -> S3Reader:
        """The object as it is at each reading."""
        try:
            obstore.head(self._store, check_key(key))
        except FileNotFoundError:
            raise KeyError(key) from None
        return S3Reader(self._store, key)

    def forget_unfinished(self, before: datetime) -> int:
        """Nothing: what a server that died left unfinished is the bucket's own to expire, by a lifecycle rule."""
        return 0

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to `end`; KeyError when there is no such object."""
        try:
            size: int = obstore.head(self._store, check_key(key))["size"]
            end = size if end is None else min(end, size)
            return b"" if start >= end else bytes(obstore.get_range(self._store, key, start=start, end=end))
        except FileNotFoundError:
            raise KeyError(key) from None

    def delete(self, key: str) -> None:
        """Remove the object."""
        try:
            obstore.delete(self._store, check_key(key))
        except FileNotFoundError:
            pass

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in order of key, page by page."""
        parent, _, _ = check_prefix(prefix).rpartition("/")
        for batch in obstore.list(self._store, prefix=parent or None, offset=_before(prefix), chunk_size=PAGE):
            for entry in batch:
                if entry["path"].startswith(prefix):
                    yield ObjectInfo(entry["path"], entry["size"], entry["last_modified"])
                elif entry["path"] > prefix:
                    return


class S3Upload:
    """One object that grows, held back until it is finished."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._writer = obstore.open_writer(store, key, buffer_size=CHUNK_BYTES, max_concurrency=2)
        self._size = 0

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; a whole part leaves at once."""
        if chunk:
            self._writer.write(bytes(chunk))
            self._size += len(chunk)

    def finish(self) -> int:
        """Complete the upload."""
        self._writer.close()
        return self._size

    def abandon(self) -> None:
        """Abort the upload, as the writer does when an exception ends its block."""
        fault = Abandoned()
        self._writer.__exit__(Abandoned, fault, None)


class Abandoned(Exception):
    """What a writer is told when its upload is given up."""


class S3Reader:
    """One object, read by ranges."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store = store
        self._key = key

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`; KeyError when the object has gone."""
        if start >= end:
            return b""
        try:
            return bytes(obstore.get_range(self._store, self._key, start=start, end=end))
        except FileNotFoundError:
            raise KeyError(self._key) from None

    def close(self) -> None:
        """Nothing is held."""


def _before(prefix: str) -> str | None:
    """A string that sorts shortly before `prefix`, to begin after; None: at the beginning."""
    return prefix.rstrip("/")[:-1] or None


def _store(url: str) -> S3Store:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme != "s3" or not parts.hostname or set(options) - OPTIONS:
        raise SettingsFault(f"objects must be s3://bucket/prefix with no options but {', '.join(sorted(OPTIONS))}")
    settings: dict[str, Any] = {"region": options.get("region", "us-east-1")}
    if "endpoint" in options:
        settings["endpoint"] = options["endpoint"]
        settings["client_options"] = {"allow_http": options["endpoint"].startswith("http://")}
    if "virtual_hosted" in options:
        settings["virtual_hosted_style_request"] = options["virtual_hosted"] == "true"
    if parts.username:
        settings["access_key_id"] = unquote(parts.username)
        settings["secret_access_key"] = unquote(parts.password or "")
    return S3Store(
        parts.netloc.rpartition("@")[2],
        prefix=parts.path.strip("/") or None,
        retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=30)},
        **settings,
    )
