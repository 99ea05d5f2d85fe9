"""The examples in the manual of the `aws` command: what they run, what they print, and how an answer differs in shape.

They are read from the installed `awscli` package. Not all of what they print is JSON: commas and quotes are missing,
lists end in an ellipsis, comments break over lines. `printed` mends that much.
"""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import awscli  # type: ignore[import-untyped]  # awscli has no stubs
import botocore.session
from botocore.model import ServiceModel, Shape

EXAMPLES = Path(awscli.__path__[0]) / "examples"
NOTHING = object()
"""What an example prints that prints nothing, or nothing that is JSON."""

_HEX = "[0-9a-fA-F]"
KINDS = (
    ("a UUID", re.compile(rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-({_HEX}{{12}}|{_HEX}{{5}}EXAMPLE)")),
    ("a node's id", re.compile(rf"m?i-({_HEX}{{8,17}}|{_HEX}{{10}}EXAMPLE)")),
    ("a time", re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")),
    ("a whole number", re.compile(r"\d+")),
)
_ARN = re.compile(r"arn:aws:([a-z0-9-]+):[a-z0-9-]*:\d*:(?:([a-z-]*)[/:])?")

_PRINCIPAL = re.compile(r"arn:aws:(iam::\d*:(root|user/)|sts::\d*:assumed-role/)")


@dataclass(frozen=True)
class Example:
    """One command of the manual."""

    service: str
    name: str  # "send-command/2": the second command on its page
    arguments: tuple[str, ...]  # of `aws`
    printed: Any

    @property
    def shape(self) -> Shape | None:
        """The model's shape of the output; None where the command asks for something else."""
        operation = "".join(map(str.capitalize, self.operation.split("-")))
        return None if "--query" in self.arguments else _model(self.service).operation_model(operation).output_shape

    @property
    def operation(self) -> str:
        """The command's: "send-command"."""
        return self.arguments[1]


def examples(service: str) -> Iterator[Example]:
    """Those of a service, in order."""
    for page in sorted((EXAMPLES / service).glob("*.rst")):
        blocks = [*_blocks(page.read_text()), ""]
        commands = [number for number, block in enumerate(blocks) if block.startswith("aws ")]
        for number, at in enumerate(commands, 1):
            following = commands[number] if number < len(commands) else len(blocks)
            shown = [block for block in blocks[at + 1 : following] if block.startswith(("{", "["))]
            output = printed(shown[-1]) if shown else NOTHING
            yield Example(service, f"{page.stem}/{number}", _arguments(blocks[at]), output)


def printed(block: str) -> Any:
    """What an example prints, mended and read; NOTHING where it is no JSON."""
    mended = re.sub(r'(: "[^"\n]*),$', r'\1",', block, flags=re.M)
    mended = re.sub(r"^\s*(<?\.\.\.+.*|--truncated--)$", "", mended, flags=re.M)
    mended = re.sub(r'(["\]}\d]|true|false)(\s*\n\s*["{])', r"\1,\2", mended)
    mended = re.sub(r",(\s*[\]}])", r"\1", mended)
    try:
        return json.loads(mended, strict=False)
    except ValueError:
        return NOTHING


def differences(expected: Any, answer: Any, shape: Shape | None, at: str = "") -> list[str]:
    """How an answer differs in shape: members that are not there, other types, other kinds of ids and times.

    An answer may have more members, and more elements; each element that is expected has one of its shape. Maps are
    compared by their values. That more pages follow is no difference. `shape` is the model's, where it is known.
    """
    if isinstance(expected, Mapping) and isinstance(answer, Mapping):
        if shape is not None and shape.type_name == "map":
            return _of_elements(expected.values(), [*answer.values()], shape.value, f"{at}{{}}")
        names = expected.keys() - {"NextToken"}
        members = shape.members if shape is not None else {}
        return [f"{at}.{name} is missing" for name in sorted(names - answer.keys())] + [
            each
            for name in sorted(names & answer.keys())
            for each in differences(expected[name], answer[name], members.get(name), f"{at}.{name}")
        ]
    if isinstance(expected, list) and isinstance(answer, list):
        return _of_elements(expected, answer, getattr(shape, "member", None), f"{at}[]")
    wanted, found = kind(expected), kind(answer)
    alike = wanted == found or (wanted == "text" and isinstance(answer, str))
    return [] if alike else [f"{at} is {found}, not {wanted}: {answer!r}"]


def kind(value: Any) -> str:
    """What a value is, as far as examples agree."""
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return "a time" if value > 1_000_000_000 else "a number"
    if not isinstance(value, str):
        return type(value).__name__
    if _PRINCIPAL.match(value):
        return "the ARN of a principal"
    if arn := _ARN.match(value):
        return f"the ARN of {arn.group(1)} {arn.group(2) or ''}".rstrip()
    return next((name for name, form in KINDS if form.fullmatch(value)), "text")


def _of_elements(expected: Iterable[Any], answer: Sequence[Any], shape: Shape | None, at: str) -> list[str]:
    """The differences of each from what is most like it."""
    if not answer:
        return [f"{at} is empty" for _ in expected]
    return [
        each for element in expected for each in min((differences(element, one, shape, at) for one in answer), key=len)
    ]


def _blocks(page: str) -> Iterator[str]:
    """The indented blocks of a page, dedented."""
    for block in re.findall(r"(?:^[ \t]+\S.*\n?(?:^[ \t]*\n)*)+", page + "\n", flags=re.M):
        yield textwrap.dedent(block.expandtabs(4)).strip()


def _arguments(command: str) -> tuple[str, ...]:
    """Of a shell's line, continued by a backslash at its end; shlex keeps one before a dollar."""
    return tuple(shlex.split(re.sub(r"[\\/]\s*\n", " ", command).replace("\\$", "$"))[1:])


@cache
def _model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)
