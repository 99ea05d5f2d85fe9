"""The handshake of a session: its type, its keys, and between our own ends larger frames and windows.

```
  agent                                                       client
    |-- 5 HandshakeRequest: type, properties, [KMS], terms ----->|
    |                                              GenerateKey --|  KMS
    |<-------- 6 HandshakeResponse: how it went, [key], terms ---|
    |-- OpenKey                                                  |  KMS
    |-- 8 EncryptionChallengeRequest: sealed ------------------->|  only with KMS
    |<------------------ 9 EncryptionChallengeResponse: sealed --|
    |-- 7 HandshakeComplete: message for the user -------------->|
```

Each half turns the payload types 5 to 9 into steps for its caller to take, in their order, and ends with Completed or
Failed. Terms travel in a member of their own, `Fleetward`, which official ends pass over and leave out. An agent waits
15 s for each answer. Source: agent protocol reference, sections 12.2, 13.2 and 15.1.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetward.protocol.data_channel.encryption import DATA_KEY_BYTES, SessionKeys
from fleetward.protocol.data_channel.members import Members, json_bytes
from fleetward.protocol.data_channel.stream import Side
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import PayloadType

ANSWER_SECONDS = 15.0
LEAST_FRAME_BYTES = 1024
MOST_FRAME_BYTES = 256 * 1024
MOST_WINDOW_BYTES = 8 * 1024 * 1024
SESSION_TYPES = frozenset(("Standard_Stream", "InteractiveCommands", "NonInteractiveCommands", "Port"))

_MOST_BYTES = 64 * 1024
_MOST_ACTIONS = 16
_SUCCESS, _FAILED, _UNSUPPORTED = 1, 2, 3
_CHALLENGE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Terms:
    """How large frames and how much unacknowledged, in bytes, two of our own ends allow each other."""

    frame_bytes: int = MOST_FRAME_BYTES
    window_bytes: int = MOST_WINDOW_BYTES

    def __post_init__(self) -> None:
        if not (LEAST_FRAME_BYTES <= self.frame_bytes <= MOST_FRAME_BYTES and self.frame_bytes <= self.window_bytes):
            raise LocalProtocolError(f"frames cannot have {self.frame_bytes} bytes in windows of {self.window_bytes}")
        if self.window_bytes > MOST_WINDOW_BYTES:
            raise LocalProtocolError(f"a window may have {MOST_WINDOW_BYTES} bytes, not {self.window_bytes}")

    def members(self) -> dict[str, int]:
        """The `Fleetward` member that offers or answers them."""
        return {"FrameBytes": self.frame_bytes, "WindowBytes": self.window_bytes}

    def agreed(self, offer: object) -> Terms | None:
        """What these terms and the peer's `Fleetward` member both allow; None without one that makes sense."""
        if not isinstance(offer, dict):
            return None
        frame_bytes, window_bytes = offer.get("FrameBytes"), offer.get("WindowBytes")
        if type(frame_bytes) is not int or type(window_bytes) is not int:
            return None
        if not LEAST_FRAME_BYTES <= frame_bytes <= window_bytes:
            return None
        return Terms(min(frame_bytes, self.frame_bytes), min(window_bytes, self.window_bytes))


OUR_TERMS = Terms()


# --- what a caller is to do, in this order --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Give this to the stream's `send`."""

    payload_type: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class GenerateKey:
    """Client: ask KMS for a data key of 64 bytes under this key and context, then call `key_generated`."""

    key_id: str
    encryption_context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenKey:
    """Agent: have KMS decrypt this under the key and context, then call `key_opened`."""

    key_id: str
    encrypted_key: bytes
    encryption_context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Encrypt:
    """Give these to the stream's `encrypt`."""

    keys: SessionKeys

    def __repr__(self) -> str:
        return "Encrypt()"


@dataclass(frozen=True, slots=True)
class Completed:
    """The session begins; `terms`, if any, go to the stream's `use`, and `customer_message` to the user."""

    session_type: str
    properties: Any
    terms: Terms | None
    client_version: str
    agent_version: str
    customer_message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No session comes of it, for this reason."""

    reason: str


Step = Send | GenerateKey | OpenKey | Encrypt | Completed | Failed


class AgentHandshake:
    """The agent's half; times are seconds of a clock that only goes forward."""

    def __init__(
        self,
        *,
        agent_version: str,
        session_id: str,
        node_id: str,
        session_type: str,
        properties: Any = None,
        kms_key_id: str = "",
        customer_message: str = "",
        terms: Terms | None = OUR_TERMS,
    ) -> None:
        if session_type not in SESSION_TYPES:
            raise LocalProtocolError(f"no client knows sessions of type {session_type!r}")
        self._agent_version = agent_version
        self._context = _encryption_context(session_id, node_id)
        self._session_type = session_type
        self._properties = properties
        self._key_id = kms_key_id
        self._customer_message = customer_message
        self._offer = terms
        self._agreed: Terms | None = None
        self._client_version = ""
        self._random_challenge = base64.b64encode(os.urandom(16)).decode()
        self._challenge = b""
        self._keys: SessionKeys | None = None
        self._awaits: PayloadType | None = None
        self._is_over = False
        self._began_at: float | None = None
        self._due_at: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it completed or failed."""
        return self._is_over

    def due_at(self) -> float | None:
        """When to call `time_out`."""
        return self._due_at

    def start(self, now: float) -> list[Step]:
        """The request."""
        if self._began_at is not None:
            raise LocalProtocolError("a handshake starts once")
        self._began_at = now
        actions: list[dict[str, Any]] = [
            {
                "ActionType": "SessionType",
                "ActionParameters": {"SessionType": self._session_type, "Properties": self._properties},
            }
        ]
        if self._key_id:
            parameters = {"KMSKeyId": self._key_id, "Challenge": self._random_challenge}
            actions.append({"ActionType": "KMSEncryption", "ActionParameters": parameters})
        request: dict[str, Any] = {"AgentVersion": self._agent_version, "RequestedClientActions": actions}
        if self._offer is not None:
            request["Fleetward"] = self._offer.members()
        self._wait(PayloadType.HANDSHAKE_RESPONSE, now)
        return [Send(PayloadType.HANDSHAKE_REQUEST, json_bytes(request))]

    def receive(self, payload_type: int, payload: bytes, now: float) -> list[Step]:
        """A payload that came while the handshake lasts; those of other types are passed over, as the client's
        session has not begun."""
        if payload_type != self._awaits:
            return []
        try:
            if payload_type == PayloadType.HANDSHAKE_RESPONSE:
                return self._responded(Members.parse("HandshakeResponse", payload, most_bytes=_MOST_BYTES), now)
            return self._challenge_answered(
                Members.parse("the answer to the challenge", payload, most_bytes=_MOST_BYTES), now
            )
        except RemoteProtocolError as error:
            return self._fail(str(error))

    def key_opened(self, data_key: bytes, now: float) -> list[Step]:
        """What KMS made of an OpenKey."""
        if len(data_key) != DATA_KEY_BYTES:
            return self._fail(f"the client's data key has {len(data_key)} bytes instead of {DATA_KEY_BYTES}")
        self._keys = SessionKeys.of(data_key, Side.AGENT)
        self._challenge = os.urandom(_CHALLENGE_BYTES)
        self._wait(PayloadType.ENCRYPTION_CHALLENGE_RESPONSE, now)
        sealed = base64.b64encode(self._keys.seal(self._challenge)).decode()
        challenge = Send(PayloadType.ENCRYPTION_CHALLENGE_REQUEST, json_bytes({"Challenge": sealed}))
        return [Encrypt(self._keys), challenge]

    def key_refused(self, reason: str) -> list[Step]:
        """KMS opened no key."""
        return self._fail(f"KMS did not open the session's key: {reason}")

    def time_out(self) -> list[Step]:
        """The time of `due_at` has come."""
        return self._fail(f"the client did not answer the handshake in {ANSWER_SECONDS:.0f} seconds")

    def _responded(self, response: Members, now: float) -> list[Step]:
        actions = response.objects("ProcessedClientActions", most=_MOST_ACTIONS)
        for action in actions:
            if action.number("ActionStatus", missing=0) != _SUCCESS:
                name, error = action.text("ActionType"), action.text("Error")
                return self._fail(f"{name[:40]} failed on the client: {error[:400] or 'it gives no reason'}")
        self._client_version = response.text("ClientVersion")[:40]
        if self._offer is not None:
            self._agreed = self._offer.agreed(response.any("Fleetward"))
        if not self._key_id:
            return self._complete(now)
        for action in actions:
            if action.text("ActionType") == "KMSEncryption":
                return self._open_key(action.object("ActionResult"))
        return self._fail("the client answered nothing to the encryption that the session needs")

    def _open_key(self, result: Members) -> list[Step]:
        context = dict(self._context)
        if result.any("ChallengeAcknowledgement") is True:
            context["aws:ssm:RandomChallenge"] = self._random_challenge
        encrypted_key = result.binary("KMSCipherTextKey")
        if not encrypted_key:
            return self._fail("the client sent no data key for the encryption that the session needs")
        self._awaits = None
        self._due_at = None
        return [OpenKey(self._key_id, encrypted_key, context)]

    def _challenge_answered(self, answer: Members, now: float) -> list[Step]:
        if self._keys is None or not hmac.compare_digest(self._keys.open(answer.binary("Challenge")), self._challenge):
            return self._fail("the client's answer to the encryption challenge is another")
        return self._complete(now)

    def _complete(self, now: float) -> list[Step]:
        self._end()
        seconds = now - (self._began_at or 0.0)
        members = {
            "HandshakeTimeToComplete": max(round(seconds * 1_000_000_000), 0),
            "CustomerMessage": self._customer_message,
        }
        completed = Completed(
            self._session_type,
            self._properties,
            self._agreed,
            self._client_version,
            self._agent_version,
            self._customer_message,
        )
        return [Send(PayloadType.HANDSHAKE_COMPLETE, json_bytes(members)), completed]

    def _fail(self, reason: str) -> list[Step]:
        self._end()
        return [Failed(reason)]

    def _end(self) -> None:
        self._is_over = True
        self._awaits = None
        self._due_at = None

    def _wait(self, payload_type: PayloadType, now: float) -> None:
        self._awaits = payload_type
        self._due_at = now + ANSWER_SECONDS


class ClientHandshake:
    """The client's half."""

    def __init__(self, *, client_version: str, session_id: str, node_id: str, terms: Terms | None = OUR_TERMS) -> None:
        self._client_version = client_version
        self._context = _encryption_context(session_id, node_id)
        self._own_terms = terms
        self._agreed: Terms | None = None
        self._agent_version = ""
        self._session_type = ""
        self._properties: Any = None
        self._key_answer: dict[str, Any] | None = None
        self._answers: list[dict[str, Any]] = []
        self._keys: SessionKeys | None = None
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether it completed or failed; what comes then is the session's."""
        return self._is_over

    def receive(self, payload_type: int, payload: bytes) -> list[Step]:
        """A payload that came while the handshake lasts. Output before any request completes it and is the session's
        already: that agent makes no handshake for shells."""
        if self._is_over:
            return []
        try:
            if payload_type == PayloadType.HANDSHAKE_REQUEST:
                return self._requested(Members.parse("HandshakeRequest", payload, most_bytes=_MOST_BYTES))
            if payload_type == PayloadType.ENCRYPTION_CHALLENGE_REQUEST:
                return self._challenged(Members.parse("the encryption challenge", payload, most_bytes=_MOST_BYTES))
            if payload_type == PayloadType.HANDSHAKE_COMPLETE:
                return self._completed(Members.parse("HandshakeComplete", payload, most_bytes=_MOST_BYTES))
        except RemoteProtocolError as error:
            return self._fail(str(error))
        if payload_type == PayloadType.OUTPUT and not self._answers:
            return self._complete("Standard_Stream", "")
        return []

    def key_generated(self, data_key: bytes, encrypted_key: bytes) -> list[Step]:
        """What KMS answered to a GenerateKey: the key, and the key for the agent to have opened."""
        if self._key_answer is None:
            raise LocalProtocolError("no key was asked for")
        self._keys = SessionKeys.of(data_key, Side.CLIENT)
        self._key_answer["ActionStatus"] = _SUCCESS
        self._key_answer["ActionResult"] |= {"KMSCipherTextKey": base64.b64encode(encrypted_key).decode()}
        return [Encrypt(self._keys), *self._respond()]

    def key_refused(self, reason: str) -> list[Step]:
        """KMS did not answer a GenerateKey with a key."""
        if self._key_answer is None:
            raise LocalProtocolError("no key was asked for")
        self._key_answer |= {"ActionStatus": _FAILED, "ActionResult": None, "Error": reason}
        return self._respond()

    def _requested(self, request: Members) -> list[Step]:
        if self._answers:
            return []
        self._agent_version = request.text("AgentVersion")[:40]
        if self._own_terms is not None:
            self._agreed = self._own_terms.agreed(request.any("Fleetward"))
        steps: list[Step] = []
        for action in request.objects("RequestedClientActions", most=_MOST_ACTIONS):
            answer = {"ActionType": action.text("ActionType"), "ActionStatus": 0, "ActionResult": None, "Error": ""}
            self._answers.append(answer)
            steps += self._process(answer, action.object("ActionParameters"))
        return steps or self._respond()

    def _process(self, answer: dict[str, Any], parameters: Members) -> list[Step]:
        if answer["ActionType"] == "SessionType":
            self._set_session_type(answer, parameters)
        elif answer["ActionType"] == "KMSEncryption" and self._key_answer is None:
            return [self._generate_key(answer, parameters)]
        else:
            answer |= {"ActionStatus": _UNSUPPORTED, "Error": f"Unsupported action {answer['ActionType'][:40]}"}
        return []

    def _set_session_type(self, answer: dict[str, Any], parameters: Members) -> None:
        session_type = parameters.text("SessionType")
        if session_type not in SESSION_TYPES:
            answer |= {"ActionStatus": _FAILED, "Error": f"Unknown session type {session_type[:40]}"}
            return
        answer["ActionStatus"] = _SUCCESS
        self._session_type = session_type
        self._properties = parameters.any("Properties")

    def _generate_key(self, answer: dict[str, Any], parameters: Members) -> GenerateKey:
        context = dict(self._context)
        answer["ActionResult"] = {"KMSCipherTextHash": None}
        if challenge := parameters.text("Challenge"):
            context["aws:ssm:RandomChallenge"] = challenge
            answer["ActionResult"]["ChallengeAcknowledgement"] = True
        self._key_answer = answer
        return GenerateKey(parameters.required("KMSKeyId"), context)

    def _respond(self) -> list[Step]:
        errors = [answer["Error"] for answer in self._answers if answer["ActionStatus"] != _SUCCESS]
        response: dict[str, Any] = {
            "ClientVersion": self._client_version,
            "ProcessedClientActions": self._answers,
            "Errors": errors or None,
        }
        if self._agreed is not None:
            response["Fleetward"] = self._agreed.members()
        steps: list[Step] = [Send(PayloadType.HANDSHAKE_RESPONSE, json_bytes(response))]
        return [*steps, *self._fail("; ".join(errors))] if errors else steps

    def _challenged(self, request: Members) -> list[Step]:
        if self._keys is None:
            return self._fail("the agent challenged a key that it did not ask for")
        sealed = base64.b64encode(self._keys.seal(self._keys.open(request.binary("Challenge")))).decode()
        return [Send(PayloadType.ENCRYPTION_CHALLENGE_RESPONSE, json_bytes({"Challenge": sealed}))]

    def _completed(self, completed: Members) -> list[Step]:
        if not self._session_type:
            return self._fail("the agent completed a handshake without saying the session's type")
        return self._complete(self._session_type, completed.text("CustomerMessage"))

    def _complete(self, session_type: str, customer_message: str) -> list[Step]:
        self._is_over = True
        return [
            Completed(
                session_type,
                self._properties,
                self._agreed,
                self._client_version,
                self._agent_version,
                customer_message,
            )
        ]

    def _fail(self, reason: str) -> list[Step]:
        self._is_over = True
        return [Failed(reason)]


def _encryption_context(session_id: str, node_id: str) -> dict[str, str]:
    return {"aws:ssm:SessionId": session_id, "aws:ssm:TargetId": node_id}
