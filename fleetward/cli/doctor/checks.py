"""The checks of `fleetward doctor`, in the order in which one thing needs another."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from fleetward.cli.doctor.road import Answer, Blocked, Road, WebSocket
from fleetward.protocol import sigv4

Status = Literal["ok", "warning", "failed", "skipped"]

LARGE = 256 * 1024
"""Bytes of a large message: many packets, and less than any limit of a server."""
SKEW_REFUSED = timedelta(seconds=300)
SKEW_NOTED = timedelta(seconds=60)
EXPIRES_SOON = timedelta(days=14)
IP_MTU = 14
"""Linux's number of the socket option that tells the path's MTU."""

SERVICES = ("ssm", "ssmmessages", "ec2messages", "kms", "logs", "monitoring", "s3")
"""Names that an official agent forms with Agent.ServiceDomain (agent protocol reference, section 1.1)."""

CHAIN = {18, 19, 20, 21}
"""OpenSSL's codes for a chain that ends at nobody who is trusted here."""
EXPIRED = {9, 10}
OTHER_NAME = {62, 64}

Credentials = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, how it stands, what is so, and what to do."""

    check: str
    status: Status
    said: str
    mend: str = ""

    def members(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def examine(road: Road, credentials: Credentials, region: str) -> Iterator[Finding]:
    """Every finding, as it is made; what needs something that failed is left out."""
    yield proxy(road)
    if road.proxy is None:
        names = dns(road)
        yield names
        if names.status == "failed":
            return
    reached = tcp(road)
    yield reached
    if reached.status == "failed":
        return
    trusted = True
    if road.secure:
        shown = tls(road)
        yield shown
        trusted = shown.status != "failed"
    try:
        answer = road.request("GET", "/healthz", {}, verify=trusted)
    except (OSError, Blocked) as fault:
        yield Finding("server", "failed", f"no answer: {fault}", "Something in between cuts the connection.")
        return
    yield server(road, answer)
    yield clock(answer, datetime.now(UTC))
    signer = None
    if trusted:
        known, signer = identity(road, credentials, region)
        yield known
    else:
        yield Finding("credentials", "skipped", "not sent to a server that is not trusted")
    passes = websocket(road, signer, region, verify=trusted)
    yield passes
    yield size(road, signer if passes.status == "ok" else None, region, verify=trusted)
    if road.secure:
        yield from agent_names(road, region)


def proxy(road: Road) -> Finding:
    """Which proxy the environment names for this host."""
    if road.proxy is not None:
        said = f"{road.proxy[0]}:{road.proxy[1]} is used for {road.host}"
        if road.host in ("localhost", "127.0.0.1", "::1"):
            return Finding(
                "proxy", "warning", said, f"A proxy leads to its own loopback: put {road.host} into NO_PROXY."
            )
        return Finding("proxy", "ok", said)
    return Finding("proxy", "ok", f"not used for {road.host} (NO_PROXY)" if road.bypassed else "none is set")


def dns(road: Road) -> Finding:
    """Whether the host has addresses."""
    try:
        found = socket.getaddrinfo(road.host, road.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as fault:
        mend = f"Add a DNS record or a line in /etc/hosts for {road.host}, or set HTTPS_PROXY if a proxy is needed."
        return Finding("dns", "failed", f"{road.host} has no address: {fault}", mend)
    return Finding("dns", "ok", f"{road.host} is {', '.join(dict.fromkeys(str(each[4][0]) for each in found))}")


def tcp(road: Road) -> Finding:
    """Whether the port is reached."""
    try:
        with road.plain() as connection:
            mtu = _mtu(connection)
    except (Blocked, OSError) as fault:
        mend = f"Does the server run and --listen on this address? Do all firewalls let port {road.port} through?"
        return Finding("tcp", "failed", str(fault), mend)
    through = f" through {road.proxy[0]}:{road.proxy[1]}" if road.proxy is not None else ""
    return Finding("tcp", "ok", f"{road.host}:{road.port} is reached{through}{mtu}")


def _mtu(connection: socket.socket) -> str:
    if sys.platform != "linux" or connection.family != socket.AF_INET:
        return ""
    return f", MTU of the path {connection.getsockopt(socket.IPPROTO_IP, IP_MTU)}"


def tls(road: Road) -> Finding:
    """Whether the certificate is trusted here, stands for the name, and holds for a while."""
    source = road.ca or "the system's certificates"
    try:
        context = road.context()
    except (OSError, ssl.SSLError) as fault:
        return Finding("tls", "failed", f"{source} cannot be read: {fault}", "Give the server's ca.pem with --ca.")
    try:
        with road.plain() as plain, context.wrap_socket(plain, server_hostname=road.host) as secure:
            version, shown = secure.version(), secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as fault:
        return _untrusted(road, fault)
    except ssl.SSLError as fault:
        mend = f"Is port {road.port} the TLS port, and is nothing in between taking TLS apart?"
        return Finding("tls", "failed", f"no TLS 1.2 or later is spoken: {fault.reason or fault}", mend)
    except (Blocked, OSError) as fault:
        return Finding("tls", "failed", f"cut off during the handshake: {fault}", "Is a firewall looking into TLS?")
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
    said = f"{version}, trusted by {source}, holds until {until:%Y-%m-%d}"
    if until - datetime.now(UTC) < EXPIRES_SOON:
        mend = "The server renews its own certificate at two thirds; an operator's file wants replacing, then SIGHUP."
        return Finding("tls", "warning", said, mend)
    return Finding("tls", "ok", said)


def _untrusted(road: Road, fault: ssl.SSLCertVerificationError) -> Finding:
    said = f"{fault.verify_message} ({_shown(road)})"
    if fault.verify_code in CHAIN:
        source = f"{road.ca} does" if road.ca else "The system's certificates do"
        mend = f"{source} not have its CA: give the server's ca.pem with --ca (to aws and boto3 by AWS_CA_BUNDLE)."
    elif fault.verify_code in EXPIRED:
        mend = "The certificate is past its time, or this clock is wrong (see `clock`); SIGHUP loads a new file."
    elif fault.verify_code in OTHER_NAME:
        mend = f"Start the server with --name {road.host}, or use one of the names in its certificate."
    else:
        mend = "The server's certificate cannot be used."
    return Finding("tls", "failed", said, mend)


def _shown(road: Road) -> str:
    """Who answers, in a few words, believed for nothing."""
    from cryptography import x509

    try:
        with road.connection(verify=False) as secure:
            der = secure.getpeercert(binary_form=True) if isinstance(secure, ssl.SSLSocket) else None
        certificate = x509.load_der_x509_certificate(der or b"")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        listed = ", ".join(_printable(str(name.value)) for name in list(names)[:8])
    except (OSError, Blocked, ValueError, x509.ExtensionNotFound):
        return "its certificate cannot be read"
    issuer = _printable(certificate.issuer.rfc4514_string())
    return f"shown: {listed}; by {issuer}; until {certificate.not_valid_after_utc:%Y-%m-%d}"


def server(road: Road, answer: Answer) -> Finding:
    """Whether a control plane answers to this name."""
    if answer.status == 421:
        mend = f"Start the server with --name {road.host} (or --public-url)."
        return Finding("server", "failed", f"the server does not answer to the name {road.host}", mend)
    if answer.status != 200 or answer.body.strip() != b"ok":
        mend = "Is this the control plane's address? A proxy's sign-in page answers like this too."
        return Finding("server", "failed", f"/healthz is answered with status {answer.status}, not by Fleetward", mend)
    return Finding("server", "ok", "a control plane answers")


def clock(answer: Answer, now: datetime) -> Finding:
    """How far this machine's clock is from the server's."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return Finding("clock", "skipped", "the answer carries no date")
    skew = now - theirs
    said = (
        f"this clock is {abs(skew.total_seconds()):.0f} s {'ahead of' if skew > timedelta() else 'behind'} the server's"
    )
    mend = "Set the clock, here or there (chronyc tracking, timedatectl): signatures are refused beyond 300 s."
    if abs(skew) >= SKEW_REFUSED:
        return Finding("clock", "failed", said, mend)
    return Finding("clock", "warning", said, mend) if abs(skew) >= SKEW_NOTED else Finding("clock", "ok", said)


def identity(road: Road, credentials: Credentials, region: str) -> tuple[Finding, sigv4.Credentials | None]:
    """Who the keys that AWS programs would use are here, if they are anybody."""
    from botocore.exceptions import BotoCoreError

    try:
        found = credentials()
        frozen = found.get_frozen_credentials() if found is not None else None
    except BotoCoreError as fault:
        return Finding("credentials", "failed", str(fault), "Mend the AWS profile."), None
    if frozen is None:
        mend = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to check them too."
        return Finding("credentials", "skipped", "none are set", mend), None
    signer = sigv4.Credentials(str(frozen.access_key), str(frozen.secret_key), frozen.token)
    form = b"Action=GetCallerIdentity&Version=2011-06-15"
    headers = {"Host": road.netloc, "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    headers |= _signed(signer, "POST", "/", headers, form, region)
    try:
        answer = road.request("POST", "/", headers, form)
    except (OSError, Blocked) as fault:
        return Finding("credentials", "failed", f"no answer to a signed call: {fault}"), None
    text = answer.body.decode(errors="replace")
    if answer.status == 200:
        return Finding("credentials", "ok", f"{_printable(_inside(text, 'Arn'))} in {region}"), signer
    said = f"{_inside(text, 'Code') or answer.status}: {_inside(text, 'Message')}"
    return Finding("credentials", "failed", _printable(said), _advice(_inside(text, "Code"))), None


def _advice(code: str) -> str:
    return {
        "InvalidClientTokenId": "The access key is unknown there; see root-credentials.json of its data folder.",
        "SignatureDoesNotMatch": "The secret, region or clock is wrong, or something in between changes requests.",
        "ExpiredToken": "These temporary keys are past their time: get new ones.",
    }.get(code, "The server refuses these keys; its log knows why.")


def websocket(road: Road, signer: sigv4.Credentials | None, region: str, *, verify: bool) -> Finding:
    """Whether an upgrade passes: to the end with keys, else as far as the server's refusal."""
    mend = "Something in between does not pass WebSockets: have it forward `Upgrade`; until then nodes poll."
    path = "/_fleetward/echo" if signer is not None else "/v1/control-channel/doctor"
    try:
        with road.connection(verify=verify) as connection:
            opened = _upgrade(road, connection, path, signer, region)
            if opened.refusal is None:
                passes = signer is not None and opened.exchange(b"doctor") == b"doctor"
                said = "a WebSocket passes, both ways" if passes else "the WebSocket does not bring back what was sent"
                return Finding("websocket", "ok" if passes else "failed", said, "" if passes else mend)
    except (OSError, Blocked) as fault:
        return Finding("websocket", "failed", str(fault), mend)
    text = opened.refusal.body.decode(errors="replace")
    if signer is None and "MissingAuthenticationToken" in text:
        return Finding("websocket", "ok", "the upgrade reaches the server, which wants a signature (no keys to go on)")
    return Finding("websocket", "failed", f"refused with {opened.refusal.status}: {_printable(text[:200])}", mend)


def _upgrade(
    road: Road, connection: socket.socket, path: str, signer: sigv4.Credentials | None, region: str
) -> WebSocket:
    headers = {"Host": road.netloc}
    if signer is not None:
        headers |= _signed(signer, "GET", path, headers, b"", region)
    return WebSocket(road, connection, path, headers)


def size(road: Road, signer: sigv4.Credentials | None, region: str, *, verify: bool) -> Finding:
    """Whether much passes as well as little does: up by a request, down by the WebSocket where there are keys."""
    mend = "Small packets pass, large ones do not: lower the MTU, or let ICMP `fragmentation needed` through."
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        answer = road.request("POST", "/", headers, b"Action=None&Filler=" + b"x" * LARGE, verify=verify)
        if answer.status == 413:
            advice = "Something in between allows smaller requests only: raise its limit to 16 MiB."
            return Finding("size", "failed", f"a request of {LARGE // 1024} KiB is refused as too large", advice)
        if signer is None:
            return Finding(
                "size", "ok", f"{LARGE // 1024} KiB go up; to ask for as much down takes keys and a WebSocket"
            )
        with road.connection(verify=verify) as connection:
            opened = _upgrade(road, connection, "/_fleetward/echo", signer, region)
            message = os.urandom(LARGE)
            if opened.refusal is not None:
                return Finding("size", "warning", f"{LARGE // 1024} KiB go up; without a WebSocket, down was not tried")
            if opened.exchange(message) != message:
                return Finding("size", "failed", "a large message comes back changed", mend)
    except (OSError, Blocked) as fault:
        return Finding("size", "failed", f"{LARGE // 1024} KiB do not pass: {fault}", mend)
    return Finding("size", "ok", f"{LARGE // 1024} KiB pass, up and down")


def agent_names(road: Road, region: str) -> Iterator[Finding]:
    """Names that the official agent forms: for S3 below its endpoint, and all services below a service domain."""
    if road.is_address or "." not in road.host:
        said = f"{road.host} is no domain: official agents work by Endpoint settings alone, without S3 output"
        yield Finding("agent names", "warning", said, "For official agents give the server a name in DNS (--name).")
        return
    bucket = [f"fleetward-doctor.s3.{road.host}"]
    domain = [f"{service}.{region}.{road.host}" for service in SERVICES]
    yield _names(road, "agent s3", bucket, f"*.s3.{road.host}", "S3.Endpoint")
    domain.append(f"fleetward-doctor.s3.{region}.{road.host}")
    wildcards = f"*.{region}.{road.host} and *.s3.{region}.{road.host}"
    yield _names(road, "agent domain", domain, wildcards, "Agent.ServiceDomain")


def _names(road: Road, check: str, names: list[str], wildcards: str, setting: str) -> Finding:
    for name in names:
        try:
            with road.connection(host=name):
                continue
        except ssl.SSLCertVerificationError as fault:
            if fault.verify_code not in OTHER_NAME:
                return Finding(check, "skipped", f"{name}: the certificate is not trusted here")
            mend = f"Let the certificate stand for {wildcards}: the server's own does with --name {road.host}."
            return Finding(check, "warning", f"the certificate does not stand for {name}", mend)
        except (Blocked, OSError) as fault:
            mend = f"Official agents with {setting} need DNS records {wildcards}; others do not."
            return Finding(check, "warning", str(fault), mend)
    return Finding(check, "ok", f"{wildcards} lead here and the certificate stands for them")


def _signed(
    signer: sigv4.Credentials, method: str, path: str, headers: Mapping[str, str], body: bytes, region: str
) -> dict[str, str]:
    return sigv4.sign_headers(
        signer,
        method=method,
        url_path=path,
        query="",
        headers=headers,
        body=body,
        region=region,
        service="sts",
        now=datetime.now(UTC),
    )


def _inside(text: str, name: str) -> str:
    return text.partition(f"<{name}>")[2].partition("<")[0]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:500]
