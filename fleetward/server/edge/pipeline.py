"""Pipeline: the stages that every API request passes, in order.

    route -> identify -> receive -> authenticate -> throttle -> parse -> admit -> validate -> run -> render

Each stage is a function that fills in more of the Exchange or raises an AwsError; `answer` runs the list and renders
what came out, result or error, in the protocol that was asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from fleetward.protocol import sigv4
from fleetward.protocol.api import aws_json, query, rest, rest_json, validate
from fleetward.protocol.api.model import Operation, SerializationFault, ServiceModel, UnknownOperation
from fleetward.server import errors
from fleetward.server.call import Caller, Context, anonymous
from fleetward.server.edge.gathered import RequestLog
from fleetward.server.edge.identities import Identities, Identity
from fleetward.server.edge.outside import Performer
from fleetward.server.edge.room import Room
from fleetward.server.edge.throttle import Throttle
from fleetward.server.edge.waits import Waits
from fleetward.server.effects import Outside
from fleetward.server.errors import AwsError
from fleetward.server.iam import evaluate
from fleetward.server.service import Entry, Runner, Service, Wait, check_audience, nobody_is_denied

log = logging.getLogger("fleetward.edge")

TARGETS = {
    "AmazonSSM": "ssm",
    "Fleetward": "fleetward",
    "EC2WindowsMessageDeliveryService": "ec2messages",
    "TrentService": "kms",
    "Logs": "logs",
}
SLOWEST_WAIT = timedelta(seconds=30)
MOST_QUERY_FIELDS = 1000
MOST_OUTCOMES = 16
"""Effects that one request may have performed."""
GLOBAL_SERVICES = frozenset({"iam", "sts"})
GLOBAL_REGION = "us-east-1"
"""Calls of services that have no region are signed for this one, by AWS's custom (user guide, "Regions: IAM")."""
QUERY_ERRORS = {
    "AccessDeniedException": ("AccessDenied", 403),
    "ExpiredTokenException": ("ExpiredToken", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "InternalServerError": ("InternalFailure", 500),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "SerializationException": ("MalformedInput", 400),
    "ServiceUnavailableException": ("ServiceUnavailable", 503),
    "ThrottlingException": ("Throttling", 400),
    "UnknownOperationException": ("InvalidAction", 400),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
    "ValidationException": ("ValidationError", 400),
}
"""Names and statuses of shared errors where the query protocol is spoken (API reference, Common Error Types)."""


@dataclass(slots=True)
class Exchange:
    """One request on its way through the stages."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    source_ip: str
    secure: bool
    request_id: str
    chunks: Callable[[int], AsyncIterator[bytes]]
    """Reads the body piece by piece, refusing more than that many bytes."""
    mark_authenticated: Callable[[], None]
    service: ServiceModel | None = None
    operation: Operation | None = None
    entry: Entry | None = None
    claim: sigv4.Claim | None = None
    identity: Identity | None = None
    body: bytes = b""
    unread: bool = False
    """The body is read after authentication, by whoever compares it with the hash that was signed."""
    form: dict[str, str] = field(default_factory=dict)
    context: Context | None = None
    refusal: AwsError | None = None
    """Why the caller could not do this on any resource."""
    request: dict[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    render: Callable[[Exchange, AwsError | None], Response] | None = None
    """How this exchange's answer is worded; None: by the protocol of its service."""

    async def receive(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""
        return b"".join([chunk async for chunk in self.chunks(limit)])


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back: status, headers and body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    stream: AsyncIterable[bytes] | None = None
    """Instead of the body: pieces of it, whose whole length a header tells."""


class Pipeline:
    """The stages with what they need; one per server."""

    def __init__(
        self,
        *,
        runner: Runner,
        services: Mapping[str, Service],
        models: Mapping[str, ServiceModel],
        identities: Identities,
        waits: Waits,
        room: Room,
        performer: Performer,
        deny: Callable[[Context, Entry, Any, AwsError], None],
        audit_read: Callable[[Context, Entry, Any], None],
    ) -> None:
        self._runner = runner
        self._services = services
        self._models = models
        self._by_version = {model.api_version: name for name, model in models.items() if model.protocol == "query"}
        self._identities = identities
        self._waits = waits
        self.room = room
        self._performer = performer
        self._deny = deny
        self._audit_read = audit_read
        self.requests = RequestLog(log)
        settings = runner.settings
        self._principals = Throttle(settings.requests_per_principal, settings.requests_per_principal * 5)
        self._nodes = Throttle(settings.requests_per_node, settings.requests_per_node * 10)
        self._stages: tuple[Callable[[Exchange], Awaitable[None]], ...] = (
            self.route,
            self.identify,
            self.receive,
            self.authenticate,
            self.throttle,
            self.parse,
            self.admit,
            self.validate,
            self.run,
        )

    @property
    def account(self) -> str:
        """The account that strangers knock at."""
        return self._runner.settings.account

    @property
    def regions(self) -> Sequence[str]:
        """The regions that are served at the moment."""
        return self._identities.regions

    async def answer(self, exchange: Exchange) -> Response:
        """Run the stages and render the outcome."""
        return await self.conclude(exchange, self._pass)

    async def _pass(self, exchange: Exchange) -> None:
        for stage in self._stages:
            await stage(exchange)

    async def conclude(self, exchange: Exchange, work: Callable[[Exchange], Awaitable[Response | None]]) -> Response:
        """Do `work`, which may give a response of its own, and end the request: errors, audit, rendering, log."""
        started = time.perf_counter()
        fault: AwsError | None = None
        response: Response | None = None
        try:
            response = await work(exchange)
        except AwsError as refusal:
            fault = refusal
        except UnknownOperation:
            fault = errors.UnknownOperationException("There is no operation with this method and path.")
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": exchange.request_id}})
            fault = errors.InternalServerError(
                f"The server failed; its log knows the request as {exchange.request_id}."
            )
        if exchange.context is not None and exchange.entry is not None:
            self._audit(exchange, fault)
        if response is None:
            response = (exchange.render or render)(exchange, fault)
        if exchange.entry is not None or fault is not None:
            self._log(exchange, response, fault, time.perf_counter() - started)
        return response

    async def route(self, exchange: Exchange) -> None:
        """Find service, operation and entry by X-Amz-Target, path or query form."""
        name = _service_of(exchange)
        if name not in self._models:
            raise errors.UnknownOperationException(f"The service {name} is not offered by this server yet.")
        model, service = self._models[name], self._services[name]
        exchange.service = model
        if model.protocol == "query":
            exchange.body = await exchange.receive(self._runner.settings.anonymous_limit)
            exchange.form = _form(exchange)
            if "authorization" not in exchange.headers:  # no signature names the service: the API's version does
                name = self._by_version.get(exchange.form.get("Version", ""), name)
                model, service = self._models[name], self._services[name]
                exchange.service = model
            operation = exchange.form.get("Action", "")
        elif model.protocol == "json":
            operation = exchange.headers["x-amz-target"].partition(".")[2]
        else:
            operation = _rest_operation(model, exchange)
        entry = service.operations.get(operation)
        if operation not in model.operations:
            raise errors.UnknownOperationException(f"There is no operation {operation[:100]!r} in {name}.")
        exchange.operation = model.operations[operation]
        if entry is None:
            raise errors.UnknownOperationException(f"{operation} is not offered by this server yet.")
        if exchange.operation.status == 101:
            raise errors.ValidationException(f"{operation} opens a WebSocket: the request must ask for the upgrade.")
        exchange.entry = entry

    async def identify(self, exchange: Exchange) -> None:
        """Find out who claims to have signed, and with what the claim is checked."""
        assert exchange.entry is not None
        settings = self._runner.settings
        try:
            claim = sigv4.parse_claim(exchange.method, exchange.path, exchange.query, exchange.headers)
        except sigv4.SignatureFault as fault:
            raise signature_error(fault) from fault
        if claim is None:
            if exchange.entry.audience != "anyone":
                raise errors.MissingAuthenticationTokenException("The request carries no signature.")
            caller = anonymous(settings.account)
            exchange.context = self._context(exchange, caller, settings.default_region)
            return
        assert exchange.service is not None
        custom = claim.region == GLOBAL_REGION and exchange.service.name in GLOBAL_SERVICES
        if claim.region not in self._identities.regions and not custom:
            raise errors.InvalidSignatureException(self._identities.region_refusal(claim.region))
        if claim.service != exchange.service.signing_name:
            raise errors.InvalidSignatureException(
                f"Credential should be scoped to the service {exchange.service.signing_name!r},"
                f" not {claim.service[:64]!r}."
            )
        exchange.claim = claim
        exchange.identity = await self._identities.of(claim, claim.session_token, self._runner.clock.now())

    async def receive(self, exchange: Exchange) -> None:
        """Read the body; strangers may send less."""
        if exchange.form:
            return
        settings = self._runner.settings
        known = exchange.identity is not None
        exchange.body = await exchange.receive(settings.request_limit if known else settings.anonymous_limit)

    async def authenticate(self, exchange: Exchange) -> None:
        """Check the signature over all that was received."""
        claim, identity, entry = exchange.claim, exchange.identity, exchange.entry
        if claim is None:
            return
        assert identity is not None
        assert entry is not None
        try:
            key = self._verify(exchange, claim, identity)
        except AwsError:
            if not claim.is_rsa:
                raise
            # the node may have changed its key within the second that the old one is remembered
            self._identities.forget()
            identity = await self._identities.of(claim, claim.session_token, self._runner.clock.now())
            key = self._verify(exchange, claim, identity)
        if claim.is_rsa != (entry.signature == "rsa"):
            raise errors.UnrecognizedClientException("This operation is not called with this kind of key.")
        exchange.mark_authenticated()
        caller = identity.caller
        if key > 0:  # signed with a rotated-out key: good for re-keying alone
            caller = replace(caller, context={**caller.context, "fleetward:PreviousKey": "true"})
        exchange.context = self._context(exchange, caller, claim.region)
        self._identities.used(caller, claim.region, claim.service, self._runner.clock.now())

    async def claimed(self, exchange: Exchange, claim: sigv4.Claim, check: Callable[[str, datetime], None]) -> None:
        """Authenticate by a signature of S3's own kind; `check` gets secret and time, and raises SignatureFault."""
        now = self._runner.clock.now()
        exchange.claim = claim
        exchange.identity = await self._identities.of(claim, claim.session_token, now)
        try:
            check(exchange.identity.secret, now)
        except sigv4.SignatureFault as fault:
            raise signature_error(fault) from fault
        exchange.mark_authenticated()
        exchange.context = self._context(exchange, exchange.identity.caller, claim.region)
        self._identities.used(exchange.identity.caller, claim.region, claim.service, now)

    async def enter(self, exchange: Exchange, service: str, operation: str) -> None:
        """For paths that are not API calls: identify and authenticate as for an operation, without reading the body.

        The body's hash is then the one that the caller announced and signed (`X-Amz-Content-Sha256`).
        """
        exchange.service = self._models[service]
        exchange.operation = exchange.service.operations.get(operation)
        exchange.entry = self._services[service].operations[operation]
        exchange.unread = True
        await self.identify(exchange)
        await self.authenticate(exchange)
        await self.throttle(exchange)
        await self.admit(exchange)
        if exchange.refusal is not None:  # before anything of the body is kept
            raise exchange.refusal

    def _verify(self, exchange: Exchange, claim: sigv4.Claim, identity: Identity) -> int:
        """Which of the identity's keys fits; raises when none does."""
        now = self._runner.clock.now()
        skew = timedelta(seconds=self._runner.settings.clock_skew)
        signed: dict[str, Any] = {
            "method": exchange.method,
            "raw_path": exchange.path,
            "query_string": exchange.query,
            "headers": exchange.headers,
            "body_hash_hex": self._body_hash(exchange, claim),
            "now": now,
            "skew": skew,
        }
        try:
            if not claim.is_rsa:
                sigv4.verify(claim, identity.secret, **signed)
                return 0
            for number, public_key in enumerate(identity.public_keys):
                try:
                    sigv4.verify_rsa(claim, public_key, **signed)
                    return number
                except sigv4.SignatureFault:
                    if number + 1 == len(identity.public_keys):
                        raise
        except sigv4.SignatureFault as fault:
            raise signature_error(fault) from fault
        raise errors.UnrecognizedClientException("The node has no key.")

    def _body_hash(self, exchange: Exchange, claim: sigv4.Claim) -> str | None:
        if exchange.unread and (claim.payload_hash or claim.service == "s3"):
            return claim.payload_hash
        return hashlib.sha256(exchange.body).hexdigest()

    def _context(self, exchange: Exchange, caller: Caller, region: str) -> Context:
        return Context(
            account=caller.account,
            region=region if region in self._identities.regions else self._runner.settings.default_region,
            caller=caller,
            request_id=exchange.request_id,
            source_ip=exchange.source_ip,
            user_agent=exchange.headers.get("user-agent", ""),
            secure=exchange.secure,
            referer=exchange.headers.get("referer", ""),
            session_token=(exchange.claim.session_token or "") if exchange.claim is not None else "",
        )

    async def throttle(self, exchange: Exchange) -> None:
        """Take a token of the principal's or node's bucket."""
        assert exchange.context is not None
        caller = exchange.context.caller
        if caller.kind == "anonymous":
            bucket, name = self._nodes, exchange.source_ip
        elif caller.kind == "node":
            bucket, name = self._nodes, caller.node_id
        else:
            bucket, name = self._principals, caller.arn
        if not bucket.allows(name, time.monotonic()):
            raise errors.ThrottlingException("Rate exceeded")

    async def parse(self, exchange: Exchange) -> None:
        """Read the body as the operation's input."""
        assert exchange.service is not None
        assert exchange.operation is not None
        try:
            if exchange.service.protocol == "json":
                exchange.request = aws_json.parse_request(exchange.operation, exchange.body)
            elif exchange.service.protocol == "query":
                exchange.request = query.parse_request(exchange.service, list(exchange.form.items()))[1]
            else:
                _, exchange.request = rest_json.parse_request(
                    exchange.service,
                    exchange.method,
                    exchange.path,
                    _pairs(exchange.query),
                    exchange.headers,
                    exchange.body,
                )
        except SerializationFault as fault:
            raise errors.SerializationException(fault.message) from fault

    async def admit(self, exchange: Exchange) -> None:
        """Note whoever could not do this on any resource: he is not told what is wrong with his request.

        A request that is in order goes on to `run`, which refuses it by the name of the resource.
        """
        assert exchange.context is not None
        assert exchange.entry is not None
        caller = exchange.context.caller
        check_audience(exchange.entry, caller.kind)
        if exchange.entry.grows and not self.room.enough():
            raise errors.ServiceUnavailableException("The server's disk is nearly full: make room, then try again.")
        entry = exchange.entry
        if caller.policies is None or entry.resources is nobody_is_denied:
            return
        if entry.resource_policies or caller.kind == "anonymous":  # decided on the resource, where it has a say
            return
        if not evaluate.may_grant(caller.policies, entry.action):
            decision = evaluate.decide(caller.policies, evaluate.Request(entry.action, "*", caller.context))
            message = evaluate.denied_message(caller.arn, entry.action, "*", decision)
            exchange.refusal = errors.AccessDeniedException(message)

    async def validate(self, exchange: Exchange) -> None:
        """Check the input against the model's constraints."""
        assert exchange.operation is not None
        assert exchange.service is not None
        if exchange.operation.input is None:
            return
        fault = self._services[exchange.service.name].fault
        if _may_hold_nul(exchange) and (path := _path_of_nul(exchange.request)) is not None:
            raise exchange.refusal or fault(
                f"1 validation error detected: Value at '{path}' failed to satisfy constraint: "
                "Member must not contain the character U+0000"
            )
        violations = validate.check(exchange.operation.input, exchange.request)
        if violations:
            raise exchange.refusal or fault(validate.faults_message(violations))

    async def run(self, exchange: Exchange) -> None:
        """Authorize and run the entry in its transaction; park it while it asks to wait."""
        assert exchange.context is not None
        assert exchange.entry is not None
        since = self._runner.clock.now()
        last = since + SLOWEST_WAIT
        while True:
            mark = self._waits.mark()
            output = await self.call(exchange.entry, exchange.context, exchange.request)
            if isinstance(output, Outside):
                if len(exchange.context.outcomes) >= MOST_OUTCOMES:
                    raise errors.InternalServerError("The operation asks for one thing after another.")
                outcomes = [await self._performer.perform(effect) for effect in output.effects]
                exchange.context = replace(exchange.context, outcomes=(*exchange.context.outcomes, *outcomes))
                continue
            if not isinstance(output, Wait):
                exchange.result = output or {}
                return
            if self._waits.closed:
                raise errors.ServiceUnavailableException("The server is stopping; ask again.")
            exchange.context = replace(exchange.context, waiting_since=since)
            now = self._runner.clock.now()
            await self._waits.sleep(output.topic, (min(output.until, last) - now).total_seconds(), mark)
            if exchange.claim is not None and exchange.claim.session_token:
                await self._identities.of(exchange.claim, exchange.claim.session_token, self._runner.clock.now())

    async def call(self, entry: Entry, context: Context, request: Any) -> Any:
        """Run one entry and wait for its commit; raises what it raised."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(outcome: Any) -> None:
            if future.cancelled():
                return
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self._runner.submit(entry, context, request, done)
        return await future

    def _audit(self, exchange: Exchange, fault: AwsError | None) -> None:
        assert exchange.context is not None
        assert exchange.entry is not None
        if isinstance(fault, errors.AccessDeniedException):
            self._deny(exchange.context, exchange.entry, exchange.request, fault)
        elif fault is None and exchange.entry.reads and exchange.context.caller.kind != "node":
            self._audit_read(exchange.context, exchange.entry, exchange.request)

    def _log(self, exchange: Exchange, response: Response, fault: AwsError | None, seconds: float) -> None:
        level = logging.INFO if response.status < 500 or response.status == 501 else logging.ERROR
        entry, context = exchange.entry, exchange.context
        self.requests.line(
            level,
            {
                "request_id": exchange.request_id,
                "operation": entry.name if entry is not None else "",
                "caller": context.caller.arn if context is not None else "",
                "source_ip": exchange.source_ip,
                "status": response.status,
                "error": fault.code if fault is not None else "",
                "ms": round(seconds * 1000, 2),
            },
        )


def render(exchange: Exchange, fault: AwsError | None) -> Response:
    """The answer in the protocol that was asked; unknown services get JSON."""
    model, operation = exchange.service, exchange.operation
    identity: tuple[tuple[str, str], ...] = (("x-amzn-requestid", exchange.request_id),)
    if fault is not None and fault.status == 413:
        identity = (*identity, ("connection", "close"))  # what is left of the body is not worth reading
    if model is not None and model.protocol == "query":
        status = 200
        if fault is not None:
            code, status = _query_error(model, operation, fault)
            side = "Receiver" if status >= 500 else "Sender"
            body = query.render_error(model, code, fault.message, exchange.request_id, side)
        else:
            assert operation is not None
            body = query.render_result(model, operation, exchange.result, exchange.request_id)
        return Response(status, (("content-type", "text/xml"), *identity), body)
    if model is not None and model.protocol == "rest-json":
        return _render_rest(model, exchange, fault, identity)
    if fault is not None:
        body = aws_json.render_error(fault.code, fault.message, fault.members)
        headers = (("content-type", "application/x-amz-json-1.1"), ("x-amzn-errortype", fault.code), *identity)
        return Response(fault.status, headers, body)
    assert model is not None
    assert operation is not None
    body = aws_json.render_result(operation, exchange.result)
    return Response(200, (("content-type", aws_json.content_type(model)), *identity), body)


def _query_error(model: ServiceModel, operation: Operation | None, fault: AwsError) -> tuple[str, int]:
    """Code and status of an error in the query protocol: the operation's own, shared, or the service's."""
    if operation is None or fault.code not in operation.errors:
        shared = QUERY_ERRORS.get(fault.code)
        if shared is not None:
            return shared
    shape = model.errors.get(fault.code)
    return (fault.code, fault.status) if shape is None else (shape.error_code, shape.error_status or fault.status)


def _render_rest(
    model: ServiceModel, exchange: Exchange, fault: AwsError | None, identity: tuple[tuple[str, str], ...]
) -> Response:
    if fault is not None:
        status = 403 if isinstance(fault, errors.AccessDeniedException) else fault.status
        rendered = rest_json.render_error(model, fault.code, fault.message, exchange.request_id, status)
    else:
        assert exchange.operation is not None
        rendered = rest_json.render_result(model, exchange.operation, exchange.result)
    return Response(rendered.status, (*rendered.headers.items(), *identity), rendered.body)


def _service_of(exchange: Exchange) -> str:
    target = exchange.headers.get("x-amz-target", "")
    if target:
        name = TARGETS.get(target.partition(".")[0].partition("_")[0])
        if name is None:
            raise errors.UnknownOperationException(f"There is no service for X-Amz-Target {target[:100]!r} here.")
        return name
    if exchange.path.startswith(("/v1/control-channel/", "/v1/data-channel/")):
        return "ssmmessages"
    if _signed_for(exchange) == "resource-groups":
        return "resource-groups"
    if exchange.method == "POST" and exchange.path == "/":
        kind = exchange.headers.get("content-type", "")
        if kind.startswith("application/x-www-form-urlencoded"):
            return "iam" if _signed_for(exchange) == "iam" else "sts"
    if exchange.method == "GET" and exchange.path == "/" and "Action=" in exchange.query:
        return "sts"  # presigned: whoever is shown such a URL may ask us who signed it
    raise errors.UnknownOperationException(
        "The request names no operation: it needs an X-Amz-Target header, a query form or a known path."
    )


def _signed_for(exchange: Exchange) -> str:
    """The service in the scope of the signature; empty where there is none to be read."""
    scope = exchange.headers.get("authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    return scope[3] if len(scope) > 3 else ""


def _rest_operation(model: ServiceModel, exchange: Exchange) -> str:
    routes = rest.routes(model)
    try:
        return routes.match(exchange.method, exchange.path, _pairs(exchange.query), exchange.headers)[0].name
    except SerializationFault as fault:
        raise errors.SerializationException(fault.message) from fault


def _pairs(query_string: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query_string, keep_blank_values=True, max_num_fields=MOST_QUERY_FIELDS)
    except ValueError as fault:
        raise errors.SerializationException(f"The query has more than {MOST_QUERY_FIELDS} fields.") from fault


def _may_hold_nul(exchange: Exchange) -> bool:
    """Whether anything that was sent could be read as U+0000, which no text may hold: PostgreSQL refuses it."""
    body = exchange.body
    return b"\\u0000" in body or b"%00" in body or b"\0" in body or "%00" in exchange.path or "%00" in exchange.query


def _path_of_nul(value: Any) -> str | None:
    """Where the first U+0000 of a request is; names of members joined by dots, "" for a bare text."""
    if isinstance(value, str):
        return "" if "\0" in value else None
    pairs: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        pairs = [(str(name), each) for name, each in value.items()]
    elif isinstance(value, list):
        pairs = [(str(number), each) for number, each in enumerate(value, 1)]
    for name, each in pairs:
        inside = "" if "\0" in name else _path_of_nul(each)
        if inside is not None:
            return f"{name}.{inside}".strip(".").replace("\0", "")
    return None


def _form(exchange: Exchange) -> dict[str, str]:
    try:
        text = exchange.query if exchange.method == "GET" else exchange.body.decode()
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=10_000)
    except (UnicodeDecodeError, ValueError) as fault:
        raise errors.SerializationException("The body is not a readable form.") from fault
    return dict(pairs) or {"Action": ""}


def signature_error(fault: sigv4.SignatureFault) -> AwsError:
    """The error of the API for a signature fault."""
    kind = getattr(errors, fault.code, errors.InvalidSignatureException)
    error: AwsError = kind(fault.message)
    return error
