"""What can go wrong between an operator's program and a node."""

from __future__ import annotations

_FOR_NOW = frozenset(
    {
        "InternalServerError",
        "RequestLimitExceeded",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class ClientError(Exception):
    """Anything that this package raises on purpose; its text is fit for a terminal."""


class Unreachable(ClientError):
    """The control plane did not answer."""


class Refused(ClientError):
    """The control plane refused a call; `code` is AWS's name for the error."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(plain(f"{code}: {message}" if code else message))
        self.code = code
        self.message = message
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether the same call may work a little later."""
        return self.status >= 500 or self.status == 429 or self.code in _FOR_NOW


class Misconfigured(ClientError):
    """The AWS profile or environment does not lead to a control plane."""


class SessionFailed(ClientError):
    """A session could not be opened, or ended before it had done what was asked."""


def plain(text: str) -> str:
    """Text that others wrote, without what would drive a terminal: control and other unprintable characters."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
