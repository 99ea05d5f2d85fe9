"""References in documents: `{{ name }}` of parameters, `{{ssm:name}}` and `{{ssm-secure:name}}` of Parameter Store.

A string that is nothing but a reference takes the value with its type; inside longer text a value appears as itself if
it is text, else as JSON. What was put in is not searched again. Unknown references stay as they are. Within longer text
`$$` of an inserted value becomes `$` (AP 10.1). Ours: a single `$` of a value is kept, where the official agent drops
it together with the word that follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Reference = tuple[str, str | None]
"""Name in Parameter Store, and the version or label asked for."""

MAX_INSERTED_CHARS = 8 * 1024 * 1024
"""What all insertions of one document may add up to: 64 KiB of references to one long value would be gigabytes."""

_SPACE = r"[\t\n\f\r ]*"
_PARAMETER = re.compile(r"\{\{" + _SPACE + r"([a-zA-Z0-9]+)" + _SPACE + r"\}\}")
_STORE = r"([a-zA-Z0-9_.\-/]+)(?::([a-zA-Z0-9_.\-]+))?"
_SSM = re.compile(r"\{\{" + _SPACE + "ssm:" + _STORE + _SPACE + r"\}\}")
_SSM_SECURE = re.compile(r"\{\{" + _SPACE + "ssm-secure:" + _STORE + _SPACE + r"\}\}")


class SubstitutionFault(Exception):
    """Putting the values in would make the document unreasonably large."""


def substitute(value: Any, parameters: Mapping[str, Any]) -> Any:
    """A copy of `value` with every `{{ name }}` of `parameters` replaced; member names of objects are not touched.

    SubstitutionFault when the insertions add up to more than MAX_INSERTED_CHARS.
    """
    return _Replacer(_PARAMETER, lambda match: match[1], parameters).replace(value)


def ssm_references(value: Any) -> set[Reference]:
    """Every `{{ssm:name}}` and `{{ssm:name:version}}` within the value."""
    return _find(_SSM, value)


def secure_references(value: Any) -> set[Reference]:
    """Every `{{ssm-secure:name}}` and `{{ssm-secure:name:version}}` within the value."""
    return _find(_SSM_SECURE, value)


def resolve_references(value: Any, resolved: Mapping[Reference, Any], *, secure: bool = False) -> Any:
    """A copy of `value` with Parameter Store references replaced by what they resolved to; others stay as text."""
    pattern = _SSM_SECURE if secure else _SSM
    return _Replacer(pattern, _reference, resolved, dollars=False).replace(value)


def references_parameter(text: str, names: Mapping[str, Any]) -> bool:
    """Whether the text refers to at least one of the named parameters."""
    return any(match[1] in names for match in _PARAMETER.finditer(text))


def as_text(value: Any) -> str:
    """A value as it appears inside longer text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _reference(match: re.Match[str]) -> Reference:
    return match[1], match[2]


def _find(pattern: re.Pattern[str], value: Any) -> set[Reference]:
    if isinstance(value, str):
        return {_reference(match) for match in pattern.finditer(value)}
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return set().union(*(_find(pattern, member) for member in value))
    return set()


class _Replacer:
    """One walk over a value: which references, their values, and how much may still be inserted."""

    def __init__(
        self,
        pattern: re.Pattern[str],
        key_of: Callable[[re.Match[str]], Any],
        values: Mapping[Any, Any],
        *,
        dollars: bool = True,
    ) -> None:
        self._pattern = pattern
        self._key_of = key_of
        self._values = values
        self._dollars = dollars
        self._texts: dict[Any, str] = {}
        self._left = MAX_INSERTED_CHARS

    def replace(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._replace_text(value)
        if isinstance(value, Mapping):
            return {key: self.replace(member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self.replace(member) for member in value]
        return value

    def _replace_text(self, text: str) -> Any:
        if "{{" not in text:
            return text
        whole = self._pattern.fullmatch(text)
        if whole is not None and (key := self._key_of(whole)) in self._values:
            self._spend(key)
            return self._values[key]
        return self._pattern.sub(self._embed, text)

    def _embed(self, match: re.Match[str]) -> str:
        key = self._key_of(match)
        if key not in self._values:
            return match[0]
        text = self._spend(key)
        return text.replace("$$", "$") if self._dollars else text

    def _spend(self, key: Any) -> str:
        if key not in self._texts:
            self._texts[key] = as_text(self._values[key])
        text = self._texts[key]
        self._left -= len(text)
        if self._left < 0:
            raise SubstitutionFault(f"the values put into the document exceed {MAX_INSERTED_CHARS} characters")
        return text
