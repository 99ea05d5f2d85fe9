"""Names of parameters: what they may look like, their hierarchy, and the selectors and ARNs that callers give."""

from __future__ import annotations

import re
from typing import NamedTuple

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm.errors import HierarchyLevelLimitExceededException

LONGEST = 1011
DEEPEST = 15
ROOT = "/"
_ALLOWED = re.compile(r"[a-zA-Z0-9_.\-/]+")
_ARN = re.compile(r"arn:aws:ssm:([a-z0-9-]+):([0-9]*):parameter/([^:]+)(:.*)?", re.DOTALL)
_LABEL = re.compile(r"[a-zA-Z0-9_.\-]{1,100}")


class Named(NamedTuple):
    """What a caller named: possible names, the likelier one first, and the selector behind, `3` or a label."""

    names: tuple[str, ...]
    selector: str = ""
    is_foreign: bool = False
    """An ARN of another account or region."""


def read(given: str, account: str, region: str) -> Named:
    """A name or ARN, with or without a selector. An ARN does not tell whether a name of one level begins with `/`."""
    arn = _ARN.fullmatch(given)
    if arn is None:
        name, _, selector = given.partition(":")
        return Named((name,), selector, given.startswith("arn:"))
    name, selector = arn[3], (arn[4] or "")[1:]
    names = (f"/{name}",) if "/" in name else (name, f"/{name}")
    return Named(names, selector, arn[1] != region or arn[2] not in ("", account))


def check(name: str) -> None:
    """Raise what AWS raises for names that a parameter cannot have."""
    start = name.lstrip("/").lower()
    if start.startswith("aws"):
        raise AccessDeniedException(f"No access to reserved parameter name: {name}.")
    if start.startswith("ssm"):
        raise ValidationException('Parameter name: can\'t be prefixed with "ssm" (case-insensitive).')
    if _ALLOWED.fullmatch(name) is None or len(name) > LONGEST:
        raise ValidationException(
            f"Parameter name: only letters, digits and the symbols . - _ / are allowed, {LONGEST} characters at most."
        )
    if "/" not in name:
        return
    if not name.startswith("/"):
        raise ValidationException("Parameter name must be a fully qualified name: one with levels begins with /.")
    levels = name[1:].split("/")
    if not all(levels):
        raise ValidationException("Parameter name: no level of a hierarchy can be empty.")
    if len(levels) > DEEPEST:
        raise HierarchyLevelLimitExceededException(
            f"A hierarchy can have {DEEPEST} levels at most; this name has {len(levels)}."
        )


def folder(name: str) -> str:
    """The path that a name lies in: `/a/b` of `/a/b/c`; names of one level lie in `/`."""
    return name.rpartition("/")[0] or ROOT


def path(given: str) -> str:
    """A path as `folder` says it; ValidationException unless it begins with `/`."""
    if not given.startswith("/") or _ALLOWED.fullmatch(given) is None or "//" in given:
        raise ValidationException(
            "The parameter path begins with / and has letters, digits and the symbols . - _ in its levels."
        )
    return given.rstrip("/") or ROOT


def bounds(path: str) -> tuple[str, str]:
    """Between which texts all names below a path lie, in order of their characters' codes; not for the root."""
    return f"{path}/", f"{path}0"  # the character behind / is 0


def is_below(name: str, path: str, *, recursive: bool) -> bool:
    """Whether a name lies in a path, or anywhere below it."""
    if not recursive or path == ROOT:
        return recursive or folder(name) == path
    return name.startswith(f"{path}/")


def label_fits(label: str) -> bool:
    """Whether a version can be labelled so: no digit, `aws` or `ssm` in front."""
    return (
        _LABEL.fullmatch(label) is not None and not label[0].isdigit() and not label.lower().startswith(("aws", "ssm"))
    )
