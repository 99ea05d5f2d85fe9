"""Service models: what every operation takes, answers and may fail with, compiled from botocore's data and our own.

botocore's `service-2.json` is read only when nothing usable is cached. It is cut down to what a server needs (no
documentation, no shape an operation cannot reach), our additions are merged in, and the outcome is kept in a cache
folder under a name made of botocore's version and a hash of our own model files. Those are in botocore's format:

- `models/NAME.json` is a whole service that botocore does not have;
- `models/NAME.extra.json` adds operations to a service of botocore's. It fills gaps only: botocore's own entry wins.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

COMPILER_VERSION = 1
"""Raise it whenever `compile_service` writes something else for the same models: older cache files are then ignored."""

MODELS = Path(__file__).with_name("models")

# fmt: off
SHAPE_TRAITS = frozenset((
    "type", "required", "min", "max", "pattern", "enum", "sensitive", "timestampFormat", "flattened", "payload",
    "xmlNamespace", "locationName", "error", "exception", "fault", "union", "document", "eventstream",
))
REFERENCE_TRAITS = frozenset((
    "shape", "location", "locationName", "flattened", "xmlAttribute", "xmlNamespace", "timestampFormat", "streaming",
    "idempotencyToken", "resultWrapper",
))
METADATA_TRAITS = frozenset((
    "apiVersion", "endpointPrefix", "protocol", "responseProtocol", "jsonVersion", "targetPrefix", "signingName",
    "xmlNamespace",
))
# fmt: on


class SerializationFault(Exception):
    """A request cannot be read as what the model says: AWS's SerializationException. The message may be shown."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.reason = message
        self.path: tuple[str, ...] = ()

    def within(self, name: str) -> None:
        """Note that the fault lies inside the member `name`; called from the inside outwards."""
        self.path = (name, *self.path)

    @property
    def message(self) -> str:
        """What is wrong and where, cut to a length fit for an answer."""
        where = ".".join(self.path)
        return f"{self.reason} at '{where[:500]}'" if where else self.reason

    def __str__(self) -> str:
        return self.message


class UnknownOperation(Exception):
    """A request names an operation (or a method and path) that the service's model does not have."""


@dataclass(slots=True, eq=False)
class Member:
    """A use of a shape: a structure's member, a list's element, a map's key or value, with its place on the wire.

    `wire_name` is the name on the wire, `named` whether the model gave it; `location` is "" (body), "uri",
    "querystring", "header", "headers" (a prefix) or "statusCode".
    """

    name: str
    shape: Shape
    wire_name: str
    named: bool = False
    location: str = ""
    flattened: bool = False
    xml_attribute: bool = False
    xml_namespace: tuple[str, str] = ("", "")
    timestamp_format: str = ""
    streaming: bool = False
    idempotency_token: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Shape:
    """One type of a model. `kind` is structure, list, map, string, integer, long, float, double, boolean, timestamp,
    blob or document. `min` and `max` bound a length (string, blob, list, map) or a value (numbers).

    `element` is set for lists, `key` and `value` for maps. `error_code` and `error_status` are set for error shapes.
    Shapes compare by identity and may contain themselves.
    """

    name: str
    kind: str
    members: dict[str, Member] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    element: Member | None = None
    key: Member | None = None
    value: Member | None = None
    min: float | None = None
    max: float | None = None
    pattern: str = ""
    enum: tuple[str, ...] = ()
    timestamp_format: str = ""
    sensitive: bool = False
    flattened: bool = False
    payload: str = ""
    location_name: str = ""
    xml_namespace: tuple[str, str] = ("", "")
    error_code: str = ""
    error_status: int = 0
    union: bool = False
    event_stream: bool = False

    def __repr__(self) -> str:
        return f"Shape({self.name}: {self.kind})"

    def uses(self) -> Iterator[Member]:
        """Every member, element, key and value this shape is made of."""
        yield from self.members.values()
        for use in (self.element, self.key, self.value):
            if use is not None:
                yield use


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation: `errors` are names of error shapes; `unsigned` requests need no signature.

    `deprecated` ones give way to another of the same method and address.
    """

    name: str
    input: Shape | None
    output: Shape | None
    output_wrapper: str
    errors: frozenset[str]
    method: str
    uri: str
    status: int
    unsigned: bool
    deprecated: bool


@dataclass(frozen=True, slots=True, eq=False)
class ServiceModel:
    """One service. `protocol` reads requests, `response_protocol` writes answers (they differ for ssmmessages alone).

    `errors` holds every error shape of the model by its name.
    """

    name: str
    protocol: str
    response_protocol: str
    target_prefix: str
    json_version: str
    api_version: str
    signing_name: str
    xml_namespace: str
    operations: Mapping[str, Operation]
    errors: Mapping[str, Shape]

    def operation(self, name: str) -> Operation:
        """The operation called `name`; `UnknownOperation` if the model has none."""
        try:
            return self.operations[name]
        except KeyError:
            raise UnknownOperation(name) from None


class PerShape:
    """A function built once for every shape from the functions of its parts; shapes that contain themselves included.

    `build(shape, part)` returns the function for `shape`; it gets those of other shapes from `part(shape)`.
    """

    def __init__(self, build: Callable[[Shape, Callable[[Shape], Callable[[Any], Any]]], Callable[[Any], Any]]) -> None:
        self._build = build
        self._ready: dict[Shape, Callable[[Any], Any]] = {}
        self._pending: dict[Shape, Callable[[Any], Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, shape: Shape) -> Callable[[Any], Any]:
        """The function for `shape`, built at the first call."""
        ready = self._ready.get(shape)
        if ready is not None:
            return ready
        with self._lock:
            self._pending = {}
            built = self._part(shape)
            self._ready.update(self._pending)
        return built

    def _part(self, shape: Shape) -> Callable[[Any], Any]:
        known = self._ready.get(shape) or self._pending.get(shape)
        if known is not None:
            return known
        self._pending[shape] = lambda value: self._ready[shape](value)
        self._pending[shape] = built = self._build(shape, self._part)
        return built


@cache
def load_service(name: str, cache_folder: Path | None = None) -> ServiceModel:
    """The model of a service (`ssm`, `sts`, `iam`, `ec2messages`, `ssmmessages`, …), one object per process.

    `cache_folder` defaults to `fleetward/api` in the user's cache folder. A folder that cannot be read or written costs
    time, nothing else. LookupError when neither botocore nor we describe the service.
    """
    return build_service(name, _cached(name, cache_folder or default_cache_folder()))


def operation_digests(name: str) -> dict[str, str]:
    """A short SHA-256 over everything each operation's contract consists of: operation name -> 16 hex digits.

    Computed from the installed botocore, never from the cache.
    """
    specification = compile_service(name)
    return {
        operation: _digest(specification, entry)[:16]
        for operation, entry in sorted(specification["operations"].items())
    }


def compile_service(name: str) -> dict[str, Any]:
    """Read botocore's and our model files and keep what a server needs: metadata, operations, reachable shapes."""
    raw = raw_model(name)
    operations = {key: _slim_operation(entry) for key, entry in raw["operations"].items()}
    wanted: dict[str, Any] = {}
    errors = [key for key, entry in raw["shapes"].items() if entry.get("exception")]
    for root in [*(root for entry in operations.values() for root in _roots(entry)), *errors]:
        _collect(raw["shapes"], root, wanted)
    metadata = {key: value for key, value in raw["metadata"].items() if key in METADATA_TRAITS}
    return {"metadata": metadata, "operations": operations, "shapes": wanted}


def build_service(name: str, specification: Mapping[str, Any]) -> ServiceModel:
    """Turn a compiled specification into linked objects."""
    metadata, described = specification["metadata"], specification["shapes"]
    shapes = {key: _bare_shape(key, entry) for key, entry in described.items()}
    for key, entry in described.items():
        _link(shapes[key], entry, shapes)
    return ServiceModel(
        name=name,
        protocol=metadata["protocol"],
        response_protocol=metadata.get("responseProtocol", metadata["protocol"]),
        target_prefix=metadata.get("targetPrefix", ""),
        json_version=metadata.get("jsonVersion", ""),
        api_version=metadata["apiVersion"],
        signing_name=metadata.get("signingName", metadata["endpointPrefix"]),
        xml_namespace=metadata.get("xmlNamespace", ""),
        operations={key: _operation(key, entry, shapes) for key, entry in specification["operations"].items()},
        errors={key: shapes[key] for key, entry in described.items() if entry.get("exception")},
    )


def default_cache_folder() -> Path | None:
    """Where compiled models are kept unless told otherwise; None for a user without a home."""
    configured = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(configured) if configured else Path.home() / ".cache") / "fleetward" / "api"
    except RuntimeError:
        return None


def _cached(name: str, folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return compile_service(name)
    path = folder / f"{name}-{version('botocore')}-{_own_models_hash()}.json"
    specification = _read_cache(path)
    if specification is None:
        specification = compile_service(name)
        _write_cache(path, specification)
    return specification


def _read_cache(path: Path) -> dict[str, Any] | None:
    """The cached specification, or None when there is none or its first line is not the hash of the rest."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest != hashlib.sha256(body).hexdigest().encode():
        return None
    found: dict[str, Any] = orjson.loads(body)
    return found


def _write_cache(path: Path, specification: dict[str, Any]) -> None:
    body = orjson.dumps(specification)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        Path(name).replace(path)
    except OSError:
        return


@cache
def _own_models_hash() -> str:
    digest = hashlib.sha256(str(COMPILER_VERSION).encode())
    for path in sorted(MODELS.glob("*.json")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def raw_model(name: str) -> dict[str, Any]:
    """A service's model in botocore's format, as installed, with our additions merged in."""
    own = MODELS / f"{name}.json"
    if own.exists():
        whole: dict[str, Any] = orjson.loads(own.read_bytes())
        return whole
    raw = _botocore_model(name)
    extra = MODELS / f"{name}.extra.json"
    if extra.exists():
        additions = orjson.loads(extra.read_bytes())
        for section in ("operations", "shapes"):
            raw[section] = {**additions[section], **raw[section]}
    return raw


def _botocore_model(name: str) -> dict[str, Any]:
    """botocore's own data only: models a user put under ~/.aws must not change what this server promises."""
    from botocore.exceptions import UnknownServiceError
    from botocore.loaders import Loader

    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    try:
        return dict(loader.load_service_model(name, "service-2"))
    except UnknownServiceError:
        raise LookupError(f"no model describes the service {name!r}") from None


def _slim_operation(entry: Mapping[str, Any]) -> dict[str, Any]:
    slim: dict[str, Any] = {
        "http": entry["http"],
        "errors": sorted(error["shape"] for error in entry.get("errors", ())),
    }
    for direction in ("input", "output"):
        if direction in entry:
            slim[direction] = {key: value for key, value in entry[direction].items() if key in REFERENCE_TRAITS}
    if entry.get("authtype") == "none":
        slim["unsigned"] = True
    if entry.get("deprecated"):
        slim["deprecated"] = True
    return slim


def _roots(operation: Mapping[str, Any]) -> list[str]:
    """Names of the shapes an operation starts from."""
    ends = [operation[key]["shape"] for key in ("input", "output") if key in operation]
    return [*ends, *operation["errors"]]


def _collect(shapes: Mapping[str, Any], root: str, found: dict[str, Any]) -> None:
    """Add `root` and every shape it reaches to `found`, without documentation."""
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = slim = _slim_shape(shapes[name])
            waiting.extend(reference["shape"] for reference in _references(slim))


def _slim_shape(entry: Mapping[str, Any]) -> dict[str, Any]:
    slim = {key: value for key, value in entry.items() if key in SHAPE_TRAITS}
    if "members" in entry:
        slim["members"] = {key: _slim_reference(reference) for key, reference in entry["members"].items()}
    for part in ("member", "key", "value"):
        if part in entry:
            slim[part] = _slim_reference(entry[part])
    return slim


def _slim_reference(reference: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in reference.items() if key in REFERENCE_TRAITS}


def _references(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*entry.get("members", {}).values(), *(entry[part] for part in ("member", "key", "value") if part in entry)]


def _digest(specification: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    reached: dict[str, Any] = {}
    for root in _roots(operation):
        _collect(specification["shapes"], root, reached)
    whole = {"metadata": specification["metadata"], "operation": operation, "shapes": reached}
    return hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _bare_shape(name: str, entry: Mapping[str, Any]) -> Shape:
    shape = Shape(
        name=name,
        kind=_kind(entry),
        required=tuple(entry.get("required", ())),
        min=entry.get("min"),
        max=entry.get("max"),
        pattern=entry.get("pattern", ""),
        enum=tuple(entry.get("enum", ())),
        timestamp_format=entry.get("timestampFormat", ""),
        sensitive=entry.get("sensitive", False),
        flattened=entry.get("flattened", False),
        payload=entry.get("payload", ""),
        location_name=entry.get("locationName", ""),
        xml_namespace=_namespace(entry),
        union=entry.get("union", False),
        event_stream=entry.get("eventstream", False),
    )
    if entry.get("exception"):
        error = entry.get("error", {})
        shape.error_code = error.get("code", name)
        shape.error_status = error.get("httpStatusCode", 500 if entry.get("fault") else 400)
    return shape


def _kind(entry: Mapping[str, Any]) -> str:
    if entry.get("document"):
        return "document"
    kind: str = entry["type"]
    return {"character": "string", "short": "integer", "byte": "integer"}.get(kind, kind)


def _namespace(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Address and prefix of an XML namespace."""
    given = entry.get("xmlNamespace", {})
    return (given, "") if isinstance(given, str) else (given.get("uri", ""), given.get("prefix", ""))


def _link(shape: Shape, entry: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    shape.members = {name: _member(name, use, shapes) for name, use in entry.get("members", {}).items()}
    if "member" in entry:
        shape.element = _member("member", entry["member"], shapes)
    if "key" in entry:
        shape.key, shape.value = _member("key", entry["key"], shapes), _member("value", entry["value"], shapes)


def _member(name: str, reference: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Member:
    shape = shapes[reference["shape"]]
    return Member(
        name=name,
        shape=shape,
        wire_name=reference.get("locationName", shape.location_name or name),
        named="locationName" in reference,
        location=reference.get("location", ""),
        flattened=reference.get("flattened", shape.flattened),
        xml_attribute=reference.get("xmlAttribute", False),
        xml_namespace=_namespace(reference) if "xmlNamespace" in reference else shape.xml_namespace,
        timestamp_format=reference.get("timestampFormat", shape.timestamp_format),
        streaming=reference.get("streaming", False),
        idempotency_token=reference.get("idempotencyToken", False),
    )


def _operation(name: str, entry: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Operation:
    http = entry["http"]
    return Operation(
        name=name,
        input=shapes[entry["input"]["shape"]] if "input" in entry else None,
        output=shapes[entry["output"]["shape"]] if "output" in entry else None,
        output_wrapper=entry.get("output", {}).get("resultWrapper", ""),
        errors=frozenset(entry["errors"]),
        method=http["method"],
        uri=http["requestUri"],
        status=http.get("responseCode", 200),
        unsigned=entry.get("unsigned", False),
        deprecated=entry.get("deprecated", False),
    )
