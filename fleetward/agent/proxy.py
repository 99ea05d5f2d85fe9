"""Which proxy to take to a host: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, read as curl and Go read them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


class ProxyFault(Exception):
    """The environment names a proxy that cannot be used."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization or empty."""

    host: str
    port: int
    authorization: str


def proxy_for(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a request, or None for the direct way; ProxyFault when it is written wrongly."""
    value = _variable(environment, f"{scheme}_proxy")
    if not value or _is_loopback(host) or _exempt(host, port, _variable(environment, "no_proxy")):
        return None
    parts = urlsplit(value if "://" in value else f"http://{value}")
    try:
        number = parts.port or 80
    except ValueError:
        raise ProxyFault(f"{scheme.upper()}_PROXY has a port that is no number") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ProxyFault(f"{scheme.upper()}_PROXY must be http://HOST:PORT; other kinds of proxies are not supported")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, number, authorization)


def _variable(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _exempt(host: str, port: int, no_proxy: str) -> bool:
    return any(_matches(host.lower(), port, rule.strip().lower()) for rule in no_proxy.split(",") if rule.strip())


def _matches(host: str, port: int, rule: str) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        return _within(host, rule)
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and ":" not in name.strip("[]"):
        if int(number) != port:
            return False
        rule = name
    rule = rule.strip("[]").removeprefix("*").removeprefix(".")
    return host == rule or host.endswith(f".{rule}")


def _within(host: str, network: str) -> bool:
    import ipaddress  # costs memory; only those who write networks pay

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
