"""Whose fault a broken protocol rule is: ours or the peer's (the split is `python-hyper/h11`'s)."""

from __future__ import annotations


class ProtocolError(Exception):
    """A rule of a protocol was broken; always one of the two subclasses."""


class LocalProtocolError(ProtocolError):
    """We did wrong: our own code asked for something the protocol does not allow. A bug of ours."""


class RemoteProtocolError(ProtocolError):
    """They did wrong: what the peer sent does not follow the protocol. Expected; answer or hang up."""
