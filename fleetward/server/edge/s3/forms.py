"""Forms: multipart/form-data as browsers and SDKs post it: fields, then one file that is streamed, never held.

Source: RFC 7578, and the S3 reference on POST: the file is the last field, and what comes behind it is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from fleetward.server.s3.errors import (
    IncorrectNumberOfFilesInPostRequest,
    MalformedPOSTRequest,
    MaxMessageLengthExceeded,
)

FIELDS_LIMIT_BYTES = 20 * 1024 + 64 * 1024
"""Everything before the file: a policy has 20 KiB."""

MOST_FIELDS = 100
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(r'(?:^|;)\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILE = re.compile(r'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


class Form:
    """One body. `fields` first, then `file`, each once."""

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        match = _BOUNDARY.search(content_type)
        if match is None:
            raise MalformedPOSTRequest("The Content-Type names no boundary.")
        self._delimiter = b"\r\n--" + (match[1] or match[2]).encode("latin-1")
        self._chunks = chunks
        self._held = bytearray(b"\r\n")  # so that the first delimiter is one like the others
        self.file_name = ""

    async def fields(self) -> dict[str, str]:
        """The fields before the file, names in lower case."""
        found: dict[str, str] = {}
        await self._until(self._delimiter)
        while True:
            head = (await self._until(b"\r\n\r\n")).decode("utf-8", "replace")
            if head.startswith("--"):
                raise IncorrectNumberOfFilesInPostRequest("POST requires exactly one file upload per request.")
            lines = dict(line.partition(":")[::2] for line in head.split("\r\n") if ":" in line)
            shown = {name.strip().lower(): value.strip() for name, value in lines.items()}
            disposition = shown.get("content-disposition", "")
            name = _NAME.search(disposition)
            if name is None:
                raise MalformedPOSTRequest("A part of the form has no name.")
            if name[1].lower() == "file":
                file = _FILE.search(disposition)
                self.file_name = re.split(r"[/\\]", file[1])[-1] if file else ""
                if "content-type" in shown:
                    found.setdefault("content-type", shown["content-type"])
                return found
            value = (await self._until(self._delimiter)).decode("utf-8", "replace")
            if name[1].lower() in found or len(found) == MOST_FIELDS:
                raise MalformedPOSTRequest("The form has a field twice, or too many.")
            found[name[1].lower()] = value

    async def file(self) -> AsyncIterator[bytes]:
        """The file's bytes; what follows it is read and dropped."""
        keep = len(self._delimiter)
        while (end := self._held.find(self._delimiter)) < 0:
            ready = len(self._held) - keep
            if ready > 0:
                yield bytes(self._held[:ready])
                del self._held[:ready]
            await self._more()
        yield bytes(self._held[:end])
        async for _ in self._chunks:
            pass

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._held.find(mark)) < 0:
            if len(self._held) > FIELDS_LIMIT_BYTES:
                raise MaxMessageLengthExceeded(
                    "Your POST request fields preceding the upload file were too large.",
                    MaxMessageLengthBytes=FIELDS_LIMIT_BYTES,
                )
            await self._more()
        found = bytes(self._held[:end])
        del self._held[: end + len(mark)]
        return found

    async def _more(self) -> None:
        async for chunk in self._chunks:
            self._held += chunk
            return
        raise MalformedPOSTRequest("The body of your POST request is not well-formed multipart/form-data.")
