"""The query protocol: a form in, XML out (sts, iam, cloudformation)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleetward.protocol.api.model import Member, Operation, SerializationFault, ServiceModel, Shape, UnknownOperation
from fleetward.protocol.api.rest_xml import escape, render_members
from fleetward.protocol.api.scalars import read_text

CONTENT_TYPE = "text/xml"
DEEPEST = 32
INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)


class Branch:
    """A name of the form with what stands under it: `Tags.member.1.Key=a` is three branches and a text."""

    __slots__ = ("parts", "text")

    def __init__(self) -> None:
        self.text: str | None = None
        self.parts: dict[str, Branch] = {}


def parse_request(service: ServiceModel, form: list[tuple[str, str]]) -> tuple[Operation, dict[str, Any]]:
    """Find the operation by `Action` (and `Version`, if given) and read its members from decoded pairs.

    Raises `UnknownOperation` (AWS answers `InvalidAction`, or `MissingAction` without an Action) or
    `SerializationFault`, nothing else. Unknown names are dropped.
    """
    root = _tree(form)
    action, version = _text_of(root, "Action"), _text_of(root, "Version")
    if not action:
        raise UnknownOperation("")
    if version and version != service.api_version:
        raise UnknownOperation(f"{action} in version {version}"[:200])
    operation = service.operation(action)
    return operation, _read_structure(operation.input, root) if operation.input is not None else {}


def render_result(service: ServiceModel, operation: Operation, result: Mapping[str, Any], request_id: str) -> bytes:
    """A result as `<OperationResponse><OperationResult>…`, with the request id."""
    inside = ""
    if operation.output is not None:
        wrapper = operation.output_wrapper or f"{operation.name}Result"
        inside = f"<{wrapper}>{render_members(operation.output, result)}</{wrapper}>"
    metadata = f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>"
    root = f"{operation.name}Response"
    return f'<{root} xmlns="{escape(service.xml_namespace)}">{inside}{metadata}</{root}>'.encode()


def render_error(service: ServiceModel, code: str, message: str, request_id: str, fault: str = "Sender") -> bytes:
    """An error; `fault` is Sender (4xx) or Receiver (5xx)."""
    error = f"<Type>{fault}</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    namespace = f' xmlns="{escape(service.xml_namespace)}"'
    request = f"<RequestId>{escape(request_id)}</RequestId>"
    return f"<ErrorResponse{namespace}><Error>{error}</Error>{request}</ErrorResponse>".encode()


def _tree(form: list[tuple[str, str]]) -> Branch:
    root = Branch()
    for name, text in form:
        parts = name.split(".")
        if len(parts) > DEEPEST:
            raise SerializationFault(f"A parameter's name has more than {DEEPEST} parts")
        branch = root
        for part in parts:
            branch = branch.parts.setdefault(part, Branch())
        branch.text = text
    return root


def _text_of(root: Branch, name: str) -> str:
    branch = root.parts.get(name)
    return (branch.text or "") if branch is not None else ""


def _read_structure(shape: Shape, branch: Branch) -> dict[str, Any]:
    result = {}
    for member in shape.members.values():
        found = branch.parts.get(_form_name(member))
        if found is not None:
            try:
                result[member.name] = _read(member.shape, member.flattened, found)
            except SerializationFault as fault:
                fault.within(member.wire_name)
                raise
    return result


def _form_name(member: Member) -> str:
    """A flattened list goes by its element's name, if that has one."""
    element = member.shape.element
    return element.wire_name if member.flattened and element is not None and element.named else member.wire_name


def _read(shape: Shape, flattened: bool, branch: Branch) -> Any:
    if shape.kind == "structure":
        return _read_structure(shape, branch)
    if shape.element is not None:
        return _read_list(shape.element, branch if flattened else branch.parts.get(shape.element.wire_name))
    if shape.key is not None and shape.value is not None:
        return _read_map(shape.key, shape.value, branch if flattened else branch.parts.get("entry"))
    if branch.text is None:
        raise SerializationFault(f"Expected a {shape.kind}")
    return read_text(shape, branch.text)


def _read_list(element: Member, branch: Branch | None) -> list[Any]:
    return [_read(element.shape, element.flattened, entry) for entry in _numbered(branch)]


def _read_map(key: Member, value: Member, branch: Branch | None) -> dict[str, Any]:
    result = {}
    for entry in _numbered(branch):
        name, each = entry.parts.get(key.wire_name), entry.parts.get(value.wire_name)
        if name is None or name.text is None or each is None:
            raise SerializationFault("A map entry needs a key and a value")
        result[name.text] = _read(value.shape, value.flattened, each)
    return result


def _numbered(branch: Branch | None) -> list[Branch]:
    """The entries `1`, `2`, … in order; gaps are allowed, other names are not. No branch is an empty list."""
    if branch is None:
        return []
    if not all(INDEX.fullmatch(name) for name in branch.parts):
        raise SerializationFault("List entries are numbered 1, 2, …")
    return [branch.parts[name] for name in sorted(branch.parts, key=int)]
