"""Which keys objects may have, the same for every backend."""

from __future__ import annotations

from urllib.parse import quote, unquote

KEY_LIMIT_BYTES = 1024
SEGMENT_LIMIT = 240
"""Longest segment in a folder's spelling, in characters: file systems end at 255."""

_PLAIN = " !$&'()+,;="


def check_key(key: str) -> str:
    """The same key; ValueError unless it is a relative path of named segments that every backend can keep."""
    if not key or len(key.encode("utf-8", "surrogatepass")) > KEY_LIMIT_BYTES:
        raise ValueError(f"an object key has 1 to {KEY_LIMIT_BYTES} bytes")
    if not key.isprintable() or "\\" in key:
        raise ValueError("an object key has no control characters and no backslash")
    for segment in key.split("/"):
        if segment in ("", ".", ".."):
            raise ValueError("the segments of an object key are neither empty nor . nor ..")
        if len(spell(segment)) > SEGMENT_LIMIT:
            raise ValueError(f"a segment of an object key has at most {SEGMENT_LIMIT} characters, % escapes counted")
    return key


def check_prefix(prefix: str) -> str:
    """The same prefix; ValueError when no key could begin with it."""
    if prefix:
        check_key(prefix + "x" if prefix.endswith(("/", ".")) else prefix)
    return prefix


def spell(segment: str) -> str:
    """A segment as a file's name: letters, digits and a few signs as they are, the rest as % escapes."""
    return quote(segment, safe=_PLAIN)


def read(name: str) -> str:
    """The segment that `spell` turned into `name`."""
    return unquote(name)
