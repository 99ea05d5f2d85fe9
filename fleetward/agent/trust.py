"""Trust: which CAs a node believes, and how one takes the place of another.

The control plane gives out its CAs at `/_fleetward/ca.pem` and, while a CA is to come, that CA's certificate signed by
the present one at `/_fleetward/ca-succession.pem`. A node asks when it starts and every six hours, over a connection
that it trusts already; it believes a CA that it does not know only if one that it knows has signed it, so that whoever
stole the server's key but not the CA's gains nothing that lasts. A CA is forgotten once the control plane gives out a
younger one without it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleetward.agent import chance, signing
from fleetward.agent.client import USER_AGENT, Endpoint, trust_only
from fleetward.agent.http import HttpFault, request
from fleetward.agent.state import StateFolder, write_whole

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

log = logging.getLogger("fleetward.trust")

LOOK_SECONDS = 6 * 3600.0
LARGEST_BUNDLE_BYTES = 256 * 1024
MOST_CERTIFICATES = 32


class TrustFault(Exception):
    """What the control plane gave out is not to be believed."""


async def keep(state: StateFolder, endpoint: Endpoint) -> None:
    """Look now and every six hours or so, for ever."""
    while endpoint.trust is not None:
        try:
            await renew(state, endpoint)
        except (HttpFault, TrustFault, signing.SigningFault, OSError, ValueError) as fault:
            log.warning("the control plane's CAs stay as they are: %s", fault)
        await asyncio.sleep(LOOK_SECONDS * chance.between(0.8, 1.2))


async def renew(state: StateFolder, endpoint: Endpoint) -> bool:
    """Ask for the CAs and believe what may be believed; whether something changed.

    Nothing changes when the control plane does not answer to whom would be believed afterwards.
    """
    offered = await _fetch(endpoint, "/_fleetward/ca.pem")
    kept = state.ca.read_text()
    if offered is None or blocks(offered) == blocks(kept):
        return False
    succession = await _fetch(endpoint, "/_fleetward/ca-succession.pem") or ""
    accepted = await signing.judge(kept, offered, succession, datetime.now(UTC))
    if blocks(accepted) == blocks(kept):
        return False
    fresh = state.ca.with_name("ca.pem.fresh")
    write_whole(fresh, accepted.encode(), mode=0o644)
    try:
        trust = trust_only(fresh)
        await request(endpoint.url, "GET", "/healthz", _headers(endpoint), trust=trust, limit=LARGEST_BUNDLE_BYTES)
        write_whole(state.ca, accepted.encode(), mode=0o644)
    except ssl.SSLError as error:
        raise TrustFault(f"the new CAs cannot be used: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)
    endpoint.trust = trust
    log.info("the control plane's CAs are renewed: %d now", len(blocks(accepted)))
    return True


async def _fetch(endpoint: Endpoint, path: str) -> str | None:
    """A file of certificates; None when there is none. Never over a connection that is not trusted."""
    answer = await request(
        endpoint.url, "GET", path, _headers(endpoint), trust=endpoint.trust, limit=LARGEST_BUNDLE_BYTES
    )
    return answer.body.decode("latin-1") if answer.status == 200 else None


def _headers(endpoint: Endpoint) -> dict[str, str]:
    return {"Host": endpoint.url.host_header, "User-Agent": USER_AGENT}


def blocks(text: str) -> set[str]:
    """The certificates of a text, each without its line breaks."""
    found = text.split("-----BEGIN CERTIFICATE-----")[1:]
    return {"".join(each.partition("-----END CERTIFICATE-----")[0].split()) for each in found}


def judged(kept: str, offered: str, succession: str, now: datetime) -> str:
    """The CAs to believe from now on (PEM); runs in the signing child, for what it imports is large."""
    from cryptography.hazmat.primitives.serialization import Encoding

    known, given, vouchers = (_certificates(text) for text in (kept, offered, succession))
    believed = [each for each in given if each in known or _is_vouched_for(each, known, vouchers, now)]
    for each in known:
        younger = [one for one in believed if one != each and one.not_valid_before_utc >= each.not_valid_before_utc]
        if each not in given and not younger:
            believed.append(each)
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in believed)


def _certificates(text: str) -> list[Certificate]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(text.encode()) if blocks(text) else []
    except ValueError as fault:
        raise TrustFault(f"a certificate cannot be read: {fault}") from fault
    if len(found) > MOST_CERTIFICATES:
        raise TrustFault("there are too many certificates")
    return found


def _is_vouched_for(given: Certificate, known: list[Certificate], vouchers: list[Certificate], now: datetime) -> bool:
    """Whether a known CA has signed this CA's name and key."""
    return _is_authority(given, now) and any(
        voucher.subject == given.subject
        and voucher.public_key() == given.public_key()
        and _is_authority(voucher, now)
        and any(_is_authority(each, now) and _has_signed(each, voucher) for each in known)
        for voucher in vouchers
    )


def _is_authority(certificate: Certificate, now: datetime) -> bool:
    from cryptography import x509

    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.ca and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _has_signed(signer: Certificate, certificate: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(signer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
