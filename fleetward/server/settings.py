"""Settings: everything an operator can choose, with its unit and default."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

NOWHERE = Path("/nonexistent")
"""The data folder of who named none."""


class SettingsFault(Exception):
    """A setting is unknown or its value cannot be used; the text says which and what is allowed."""


class DataNotGiven(SettingsFault):
    """Nobody said where data is kept."""


def setting(default: Any, text: str) -> Any:
    """A field with its one-line explanation, which `docs/settings.md` is generated from."""
    if isinstance(default, (list, tuple)):
        return field(default=tuple(default), metadata={"text": text})
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One server's settings. Each is also `FLEETWARD_<NAME>` in the environment and a key of the TOML file."""

    data: Path = setting(
        NOWHERE, "folder of database, objects, keys and certificates; required unless the server is ephemeral"
    )
    ephemeral: bool = setting(
        False, "data need not outlive the server; without `data` it lies in a temporary folder, removed at the end"
    )
    listen: tuple[str, ...] = setting(("127.0.0.1:8443",), "TLS addresses to serve on, host:port; IPv6 in brackets")
    http: str = setting("", "additional plain-HTTP address; loopback only")
    name: tuple[str, ...] = setting((), "host names and addresses that clients use, besides the listen addresses")
    public_url: str = setting("", "URL that clients and nodes reach this server by; default: https of the first name")
    trusted_proxy: tuple[str, ...] = setting((), "networks whose forwarded headers are believed")
    proxy_protocol: bool = setting(
        False, "the TLS port expects a PROXY header, version 1 or 2, from the networks of trusted_proxy"
    )
    tls_certificate: str = setting("", "PEM file of the operator's own certificate chain; default: from our own CA")
    tls_key: str = setting("", "PEM file of the key belonging to tls_certificate")
    account: str = setting("123456789012", "account id, 12 digits")
    region: tuple[str, ...] = setting(("us-east-1",), "regions that are served; the first is the default")
    database: str = setting("", "database URL; default: SQLite in the data folder")
    bus: str = setting("", "bus URL (nats://…); default: inside the process")
    objects: str = setting("", "object store URL (s3://…); default: a folder in the data folder")
    peer_listen: str = setting(
        "", "address of this machine, host:port, to listen on for other servers, which connect to it"
    )
    allow_fetch: tuple[str, ...] = setting(
        (), "networks that the server may fetch from although they are not public: identity providers, packages"
    )
    fetch_ca: str = setting("", "PEM file of authorities that are trusted besides the system's when the server fetches")
    keys: str = setting("", "key ring: a file, or `command:PROGRAM`; default: keys.json in the data folder")
    log_level: str = setting("info", "debug, info, warning or error")
    websockets: str = setting("picows", "WebSocket implementation: picows or websockets")

    request_limit: int = setting(16 * 1024 * 1024, "largest request body after authentication, bytes")
    anonymous_limit: int = setting(1024 * 1024, "largest request body before authentication, bytes")
    handshake_timeout: float = setting(5.0, "time for a TLS handshake, seconds")
    header_timeout: float = setting(10.0, "time for a request's head to arrive, seconds")
    body_timeout: float = setting(30.0, "time without a byte of an announced body, seconds")
    connections_per_address: int = setting(256, "connections of one address that have not authenticated yet")
    requests_per_principal: float = setting(
        200.0, "sustained requests per second of one principal; burst is five times"
    )
    requests_per_node: float = setting(20.0, "sustained requests per second of one node; burst is ten times")
    clock_skew: int = setting(300, "allowed difference between a signature's time and ours, seconds")

    channel_silence: float = setting(120.0, "a node's channel is closed when nothing came on it for so long, seconds")
    online_for: int = setting(15 * 60, "a node counts as Online this long after its last sign of life, seconds")
    node_token_lifetime: int = setting(3600, "lifetime of a node's temporary keys, seconds")
    activation_lifetime_limit: int = setting(0, "longest activation lifetime, days; 0: any, also never")
    fingerprint_policy: str = setting("alert", "a node's fingerprint changed: alert, approve (wait) or refuse")
    oidc: str = setting("", "TOML file of the OIDC providers that people sign in with; see docs/guides/signing-in.md")
    sign_in_lifetime: int = setting(12 * 3600, "a sign-in ends this long after it began, seconds")
    sign_in_idle: int = setting(2 * 3600, "a sign-in ends when it was not refreshed for so long, seconds")
    session_resume: int = setting(300, "an end of a session may be away for so long before the session ends, seconds")
    keep_sessions: int = setting(30, "days that sessions are kept; recorded ones as long as their recordings")
    keep_commands: int = setting(30, "days that commands and their results are kept")
    keep_outputs: int = setting(90, "days that full outputs and recordings of sessions are kept")
    keep_audit: int = setting(365, "days that the audit trail is kept")
    keep_jobs: int = setting(7, "days that finished jobs are kept")
    slow_entry_fails: bool = setting(
        False, "fail any entry that holds the writer longer than 50 ms by its own doing (tests)"
    )

    @property
    def own_url(self) -> str:
        """Where clients and nodes reach this server: `public_url`, or https of the first name on the first port."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host, _, port = self.listen[0].rpartition(":")
        return f"https://{self.name[0] if self.name else host}:{port}"

    @property
    def default_region(self) -> str:
        """The region that calls without a signature belong to."""
        return self.region[0]


def load(
    overrides: Mapping[str, Any], file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Settings from, in rising order: defaults, TOML file, FLEETWARD_* variables, `overrides` (None = not given)."""
    known = {f.name for f in dataclasses.fields(Settings)}
    values: dict[str, Any] = {}
    if file is not None:
        values |= _read_file(file)
    values |= {name: environment[key] for name in known if (key := f"FLEETWARD_{name.upper()}") in environment}
    values |= {name: value for name, value in overrides.items() if value is not None}
    if unknown := sorted(set(values) - known):
        raise SettingsFault(f"unknown setting {unknown[0]!r}; see docs/settings.md for the list")
    hints = get_type_hints(Settings)
    return check(Settings(**{name: _convert(name, hints[name], value) for name, value in values.items()}))


def check(settings: Settings) -> Settings:
    """The same settings, or a SettingsFault that names the first one that cannot be used."""
    if not (len(settings.account) == 12 and settings.account.isascii() and settings.account.isdigit()):
        raise SettingsFault(f"account must be 12 digits, not {settings.account!r}")
    if settings.data == NOWHERE and not settings.ephemeral:
        raise DataNotGiven("say where data is kept: --data DIR (or --ephemeral, for data that need not be kept)")
    if settings.ephemeral and (settings.database or settings.bus or settings.objects or settings.keys):
        raise SettingsFault("an ephemeral server keeps its data by itself: give no database, bus, objects or keys")
    if not settings.region:
        raise SettingsFault("at least one region must be served")
    if settings.fingerprint_policy not in ("alert", "approve", "refuse"):
        raise SettingsFault("fingerprint_policy must be alert, approve or refuse")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingsFault("tls_certificate and tls_key belong together: give both or none")
    for network in settings.trusted_proxy:
        _check_network(network)
    if settings.proxy_protocol and not settings.trusted_proxy:
        raise SettingsFault("proxy_protocol needs trusted_proxy: the networks that the proxies are in")
    for network in settings.allow_fetch:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as fault:
            raise SettingsFault(f"allow_fetch must hold networks such as 10.0.0.0/8, not {network!r}") from fault
    if settings.websockets not in ("picows", "websockets"):
        raise SettingsFault("websockets must be picows or websockets")
    return settings


def _check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network)
    except ValueError as fault:
        raise SettingsFault(f"trusted_proxy must name networks such as 10.0.0.0/8, not {network!r}") from fault


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as fault:
        raise SettingsFault(f"cannot read the settings file {file}: {fault.strerror}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise SettingsFault(f"the settings file {file} is not valid TOML: {fault}") from fault


def _convert(name: str, hint: Any, value: Any) -> Any:
    try:
        if hint is bool:
            return value if isinstance(value, bool) else {"true": True, "1": True, "false": False, "0": False}[value]
        if hint in (int, float, str, Path):
            return hint(value)
        return tuple(value.split(",")) if isinstance(value, str) else tuple(value)
    except (TypeError, ValueError, KeyError) as fault:
        raise SettingsFault(f"{name} cannot be {value!r}") from fault
