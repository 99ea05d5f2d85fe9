"""Effects: what an entry needs done outside of any transaction, as plain values; the edge performs them.

An entry that needs one before it can answer returns `Outside(effects)`. It is then called again with the outcomes in
`call.context.outcomes`, and so on until it returns something else. What an effect comes to is a value too, never an
exception: `Failed` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class HashPassword:
    """Comes to the argon2id hash of a password."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifyPassword:
    """Comes to the one of the hashes that the password belongs to, or to an empty text."""

    password: str = field(repr=False)
    hashes: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FetchUrl:
    """Comes to the body behind an https URL, as bytes, or to `Failed` (DESIGN 3.13)."""

    url: str
    most_bytes: int = 1 << 20
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Compute:
    """Comes to what a pure function makes of `arguments`, or to the AwsError that it raises: too long for a writer."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ComputeApart:
    """As `Compute`, in a process of its own that is ended after `seconds` of work: it comes to `Failed` then.

    For what others' texts can make take long. `function` is one of a module; arguments and value are JSON's.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An effect that could not be had; `reason` is fit to be shown."""

    reason: str


AskedEffect = HashPassword | VerifyPassword | FetchUrl | Compute | ComputeApart


@dataclass(frozen=True, slots=True)
class Outside:
    """An entry's way to say: have this done outside and call me again."""

    effects: Sequence[AskedEffect]
