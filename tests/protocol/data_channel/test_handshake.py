"""The handshake: two of our own ends, official ends on either side, keys, refusals, and nonsense."""

from __future__ import annotations

import base64
import json
import os
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.protocol.data_channel.encryption import SessionKeys
from fleetward.protocol.data_channel.handshake import (
    OUR_TERMS,
    AgentHandshake,
    ClientHandshake,
    Completed,
    Encrypt,
    Failed,
    GenerateKey,
    OpenKey,
    Send,
    Step,
    Terms,
)
from fleetward.protocol.data_channel.stream import Data, Side, Stream
from fleetward.protocol.errors import LocalProtocolError
from fleetward.protocol.frame import PayloadType, decode
from tests.protocol.data_channel.link import DATA_KEY, Link, stream

GOLDEN = Path(__file__).parents[2] / "golden" / "data_channel"
ENCRYPTED_KEY = b"what KMS made of it"
PROPERTIES = {"portNumber": "22", "type": "LocalPortForwarding"}


def agent_half(**changes: Any) -> AgentHandshake:
    arguments = {
        "agent_version": "3.3.1.0",
        "session_id": "alice-163b6e16d334184d8",
        "node_id": "mi-b50b9fe278c90b63c",
        "session_type": "Port",
        "properties": PROPERTIES,
    }
    return AgentHandshake(**(arguments | changes))


def client_half(**changes: Any) -> ClientHandshake:
    arguments = {
        "client_version": "1.2.650.0",
        "session_id": "alice-163b6e16d334184d8",
        "node_id": "mi-b50b9fe278c90b63c",
    }
    return ClientHandshake(**(arguments | changes))


def sent(step: Step) -> Any:
    assert isinstance(step, Send)
    return json.loads(step.payload)


def run(agent: AgentHandshake, client: ClientHandshake, now: float = 0.0) -> dict[Side, list[Step]]:
    """Let both halves talk until neither has more to say; KMS gives DATA_KEY. What each did beside talking."""
    done: dict[Side, list[Step]] = {Side.AGENT: [], Side.CLIENT: []}
    todo = [(Side.AGENT, step) for step in agent.start(now)]
    while todo:
        side, step = todo.pop(0)
        if isinstance(step, Send) and side is Side.AGENT:
            todo += [(Side.CLIENT, one) for one in client.receive(step.payload_type, step.payload)]
        elif isinstance(step, Send):
            todo += [(Side.AGENT, one) for one in agent.receive(step.payload_type, step.payload, now)]
        elif isinstance(step, GenerateKey):
            todo += [(side, one) for one in client.key_generated(DATA_KEY, ENCRYPTED_KEY)]
        elif isinstance(step, OpenKey):
            assert step.encrypted_key == ENCRYPTED_KEY
            todo += [(side, one) for one in agent.key_opened(DATA_KEY, now)]
        if not isinstance(step, Send):
            done[side].append(step)
    return done


# -- both ends ours ----------------------------------------------------------------------------------------------------


def test_our_own_ends_agree_on_type_and_terms() -> None:
    agent, client = agent_half(customer_message="hello"), client_half()
    completed = Completed("Port", PROPERTIES, OUR_TERMS, "1.2.650.0", "3.3.1.0", "hello")
    assert run(agent, client) == {Side.AGENT: [completed], Side.CLIENT: [completed]}
    assert agent.is_over
    assert client.is_over
    assert agent.due_at() is None


def test_terms_are_what_both_allow() -> None:
    few, many = Terms(2048, 1024 * 1024), Terms(64 * 1024, 512 * 1024)
    done = run(agent_half(terms=few), client_half(terms=many))
    assert {step.terms for steps in done.values() for step in steps if isinstance(step, Completed)} == {
        Terms(2048, 512 * 1024)
    }


@pytest.mark.parametrize(("agents", "clients"), [(None, OUR_TERMS), (OUR_TERMS, None), (None, None)])
def test_end_that_offers_no_terms_gets_none(agents: Terms | None, clients: Terms | None) -> None:
    done = run(agent_half(terms=agents), client_half(terms=clients))
    assert [step.terms for steps in done.values() for step in steps if isinstance(step, Completed)] == [None, None]


def test_key_is_made_by_the_client_opened_by_the_agent_and_tried() -> None:
    done = run(agent_half(kms_key_id="alias/test", session_type="Standard_Stream"), client_half())
    [generate, client_keys, client_completed] = done[Side.CLIENT]
    [open_key, agent_keys, agent_completed] = done[Side.AGENT]
    assert isinstance(generate, GenerateKey)
    assert isinstance(open_key, OpenKey)
    assert generate.key_id == open_key.key_id == "alias/test"
    assert generate.encryption_context == open_key.encryption_context
    assert set(generate.encryption_context) == {"aws:ssm:SessionId", "aws:ssm:TargetId", "aws:ssm:RandomChallenge"}
    assert isinstance(client_keys, Encrypt)
    assert isinstance(agent_keys, Encrypt)
    assert agent_keys.keys.open(client_keys.keys.seal(b"x")) == b"x"
    assert isinstance(client_completed, Completed)
    assert isinstance(agent_completed, Completed)


def test_agent_that_opens_another_key_has_no_session() -> None:
    agent, client = agent_half(kms_key_id="alias/test"), client_half()
    [request] = agent.start(0.0)
    client.receive(5, request.payload)
    [_, response] = client.key_generated(DATA_KEY, ENCRYPTED_KEY)
    agent.receive(6, response.payload, 0.0)
    [_, challenge] = agent.key_opened(bytes(64), 0.0)
    [failed] = client.receive(8, challenge.payload)
    assert isinstance(failed, Failed)
    assert "not sealed" in failed.reason


@pytest.mark.parametrize("answer", [b"short", b"y" * 64])
def test_client_that_answers_another_challenge_has_no_session(answer: bytes) -> None:
    agent, client = agent_half(kms_key_id="alias/test"), client_half()
    client.receive(5, agent.start(0.0)[0].payload)
    agent.receive(6, client.key_generated(DATA_KEY, ENCRYPTED_KEY)[1].payload, 0.0)
    agent.key_opened(DATA_KEY, 0.0)
    sealed = base64.b64encode(SessionKeys.of(DATA_KEY, Side.CLIENT).seal(answer)).decode()
    [failed] = agent.receive(9, json.dumps({"Challenge": sealed}).encode(), 0.0)
    assert isinstance(failed, Failed)


def test_key_that_kms_refuses_ends_the_handshake_at_both_ends() -> None:
    agent, client = agent_half(kms_key_id="alias/test"), client_half()
    client.receive(5, agent.start(0.0)[0].payload)
    [response, failed] = client.key_refused("AccessDeniedException")
    assert failed == Failed("AccessDeniedException")
    assert agent.receive(6, response.payload, 0.0) == [
        Failed("KMSEncryption failed on the client: AccessDeniedException")
    ]
    other = agent_half(kms_key_id="alias/test")
    assert other.key_refused("gone") == [Failed("KMS did not open the session's key: gone")]


def test_keys_are_not_shown() -> None:
    assert repr(Encrypt(SessionKeys.of(DATA_KEY, Side.AGENT))) == "Encrypt()"


class Session:
    """Both ends of one session over a bad link, from the first request on; what comes after it is the payload."""

    def __init__(self, seed: int, agent: AgentHandshake, client: ClientHandshake, **link: float) -> None:
        self.ends = {side: stream(side) for side in Side}
        self.link = Link(self.ends[Side.AGENT], self.ends[Side.CLIENT], seed, **link)
        self.completed: dict[Side, Completed] = {}
        self.heard = {Side.AGENT: b"", Side.CLIENT: b""}
        self.sent = {side: random.Random(seed).randbytes(20_000) for side in Side}
        self._agent, self._client = agent, client
        self._do(Side.AGENT, agent.start(0.0))

    def step(self) -> bool:
        """Let the next thing happen; False when nothing is left to happen."""
        goes_on = self.link.step()
        for side, events in self.link.heard.items():
            for event in events:
                assert isinstance(event, Data)
                self._hear(side, event)
            events.clear()
        return goes_on

    def _hear(self, side: Side, event: Data) -> None:
        handshake = self._agent if side is Side.AGENT else self._client
        if handshake.is_over:
            self.heard[side] += event.payload
        elif side is Side.AGENT:
            self._do(side, self._agent.receive(event.payload_type, event.payload, self.link.now))
        else:
            self._do(side, self._client.receive(event.payload_type, event.payload))

    def _do(self, side: Side, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Send):
                self.ends[side].send(step.payload_type, step.payload)
            elif isinstance(step, GenerateKey):
                self._do(side, self._client.key_generated(DATA_KEY, ENCRYPTED_KEY))
            elif isinstance(step, OpenKey):
                self._do(side, self._agent.key_opened(DATA_KEY, self.link.now))
            elif isinstance(step, Encrypt):
                self.ends[side].encrypt(step.keys)
            elif isinstance(step, Completed):
                self.completed[side] = step
                if step.terms is not None:
                    self.ends[side].use(step.terms)
                self.ends[side].send(PayloadType.OUTPUT, self.sent[side])


@given(
    st.integers(0, 2**32),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
    st.floats(0, 0.3),
    st.sets(st.integers(0, 40), max_size=4),
    st.sampled_from(["", "alias/test"]),
    st.sampled_from([None, OUR_TERMS, Terms(2048, 8192)]),
)
@settings(max_examples=60)
def test_session_begins_over_a_bad_link_and_loses_nothing(
    seed: int, loss: float, repeats: float, jitter: float, cuts: set[int], key_id: str, terms: Terms | None
) -> None:
    agent = agent_half(kms_key_id=key_id, terms=terms)
    session = Session(seed, agent, client_half(), loss=loss, repeats=repeats, jitter=jitter)
    for number in range(20_000):
        if number in cuts:
            session.link.cut()
        if not session.step():
            break
    assert {step.terms for step in session.completed.values()} == {terms}
    assert session.heard == {Side.AGENT: session.sent[Side.CLIENT], Side.CLIENT: session.sent[Side.AGENT]}
    assert all(end.is_drained for end in session.ends.values())


# -- official ends -----------------------------------------------------------------------------------------------------


def official_response(**changes: Any) -> bytes:
    answer = {"ActionType": "SessionType", "ActionStatus": 1, "ActionResult": None, "Error": ""}
    response = {"ClientVersion": "1.2.0.0", "ProcessedClientActions": [answer | changes], "Errors": None}
    return json.dumps(response).encode()


def test_request_is_what_official_clients_read() -> None:
    [request] = agent_half(kms_key_id="alias/test").start(0.0)
    members = sent(request)
    challenge = members["RequestedClientActions"][1]["ActionParameters"].pop("Challenge")
    assert len(base64.b64decode(challenge)) == 16
    assert members == {
        "AgentVersion": "3.3.1.0",
        "RequestedClientActions": [
            {"ActionType": "SessionType", "ActionParameters": {"SessionType": "Port", "Properties": PROPERTIES}},
            {"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": "alias/test"}},
        ],
        "Fleetward": {"FrameBytes": 262144, "WindowBytes": 8388608},
    }


def test_official_client_completes_without_terms() -> None:
    agent = agent_half()
    agent.start(10.0)
    [complete, completed] = agent.receive(6, official_response(), 10.25)
    assert sent(complete) == {"HandshakeTimeToComplete": 250_000_000, "CustomerMessage": ""}
    assert completed == Completed("Port", PROPERTIES, None, "1.2.0.0", "3.3.1.0", "")


def test_official_client_of_old_makes_its_key_without_the_challenge() -> None:
    agent = agent_half(kms_key_id="alias/test")
    agent.start(0.0)
    result = {"KMSCipherTextKey": base64.b64encode(ENCRYPTED_KEY).decode(), "KMSCipherTextHash": None}
    [step] = agent.receive(6, official_response(ActionType="KMSEncryption", ActionResult=result), 0.0)
    assert step == OpenKey("alias/test", ENCRYPTED_KEY, plain_context())


@pytest.mark.parametrize("status", [0, 2, 3, 77])
def test_action_the_client_does_not_take_ends_the_handshake(status: int) -> None:
    agent = agent_half()
    agent.start(0.0)
    response = official_response(ActionStatus=status, ActionResult=3, Error="Unsupported action SessionType")
    [failed] = agent.receive(6, response, 0.0)
    assert failed == Failed("SessionType failed on the client: Unsupported action SessionType")
    assert agent.is_over
    assert agent.receive(6, official_response(), 0.0) == []


def test_client_that_passes_over_encryption_has_no_session() -> None:
    agent = agent_half(kms_key_id="alias/test")
    agent.start(0.0)
    [failed] = agent.receive(6, official_response(), 0.0)
    assert isinstance(failed, Failed)
    assert "encryption" in failed.reason


def official_request(*actions: dict[str, Any], **more: Any) -> bytes:
    requested = actions or ({"ActionType": "SessionType", "ActionParameters": {"SessionType": "Port"}},)
    return json.dumps({"AgentVersion": "3.3.0.0", "RequestedClientActions": requested} | more).encode()


def test_official_agent_is_answered_as_it_expects() -> None:
    client = client_half()
    [response] = client.receive(5, official_request())
    assert sent(response) == {
        "ClientVersion": "1.2.650.0",
        "ProcessedClientActions": [
            {"ActionType": "SessionType", "ActionStatus": 1, "ActionResult": None, "Error": ""},
        ],
        "Errors": None,
    }
    [completed] = client.receive(7, b'{"HandshakeTimeToComplete":250,"CustomerMessage":"encrypted"}')
    assert completed == Completed("Port", None, None, "1.2.650.0", "3.3.0.0", "encrypted")


def test_official_agent_gets_its_key() -> None:
    client = client_half()
    action = {"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": "alias/test", "Challenge": "Y2g="}}
    [generate] = client.receive(5, official_request(action))
    assert isinstance(generate, GenerateKey)
    assert generate.encryption_context["aws:ssm:RandomChallenge"] == "Y2g="
    [encrypt, response] = client.key_generated(DATA_KEY, ENCRYPTED_KEY)
    assert isinstance(encrypt, Encrypt)
    assert sent(response)["ProcessedClientActions"][0]["ActionResult"] == {
        "KMSCipherTextKey": base64.b64encode(ENCRYPTED_KEY).decode(),
        "KMSCipherTextHash": None,
        "ChallengeAcknowledgement": True,
    }
    agent_keys = SessionKeys.of(DATA_KEY, Side.AGENT)
    challenge = os.urandom(64)
    request = json.dumps({"Challenge": base64.b64encode(agent_keys.seal(challenge)).decode()}).encode()
    [answer] = client.receive(8, request)
    assert agent_keys.open(base64.b64decode(sent(answer)["Challenge"])) == challenge


def test_shell_of_an_agent_without_handshake_begins_with_its_output() -> None:
    client = client_half()
    [completed] = client.receive(1, b"$ ")
    assert completed == Completed("Standard_Stream", None, None, "1.2.650.0", "", "")
    assert client.receive(1, b"ls") == []


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ({"ActionType": "Dance", "ActionParameters": {}}, 3),
        ({"ActionType": "SessionType", "ActionParameters": {"SessionType": "Telepathy"}}, 2),
        ({"ActionType": "SessionType", "ActionParameters": None}, 2),
        ({}, 3),
    ],
)
def test_action_we_do_not_take_is_answered_before_we_fail(action: dict[str, Any], status: int) -> None:
    client = client_half()
    [response, failed] = client.receive(5, official_request(action))
    assert sent(response)["ProcessedClientActions"][0]["ActionStatus"] == status
    assert sent(response)["Errors"] == [failed.reason]


# One golden file per message: what it is made of as JSON, dashes, then its payload type, its JSON, its frame in hex.
# Keys and challenges differ with every session, so that messages with them are not among these.
MESSAGES: dict[str, tuple[Side, Callable[[Any], Step]]] = {
    "handshake_request": (Side.AGENT, lambda given: agent_half(**given).start(0.0)[0]),
    "handshake_response": (Side.CLIENT, lambda given: client_half().receive(5, json.dumps(given).encode())[0]),
    "handshake_refusal": (Side.CLIENT, lambda given: client_half().receive(5, json.dumps(given).encode())[0]),
    "handshake_complete": (Side.AGENT, lambda given: completion(**given)),
}


def completion(seconds: float, customer_message: str) -> Step:
    agent = agent_half(customer_message=customer_message)
    agent.start(0.0)
    return agent.receive(6, official_response(), seconds)[0]


def rendered(side: Side, step: Step) -> str:
    assert isinstance(step, Send)
    stream = Stream(side, clock_ms=lambda: 1_795_377_882_388, new_id=lambda: uuid.UUID(int=1))
    stream.send(step.payload_type, step.payload)
    [data] = stream.outgoing(0.0)
    lines = [data[start : start + 32].hex(" ", -4) for start in range(0, len(data), 32)]
    return f"{decode(data).payload_type}\n{step.payload.decode()}\n\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", MESSAGES)
def test_message_on_the_wire_is_the_recorded_one(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    given, expected = path.read_text().split("\n----\n")
    side, make = MESSAGES[name]
    seen = rendered(side, make(json.loads(given)))
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_text(f"{given}\n----\n{seen}")
    else:
        assert seen == expected


def test_every_golden_message_is_tested() -> None:
    assert {path.stem for path in GOLDEN.glob("handshake_*.txt")} == set(MESSAGES)


def test_second_key_is_not_made() -> None:
    action = {"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": "alias/test"}}
    client = client_half()
    [generate] = client.receive(5, official_request(action, action))
    assert generate == GenerateKey("alias/test", plain_context())
    [_, response, _] = client.key_generated(DATA_KEY, ENCRYPTED_KEY)
    assert [answer["ActionStatus"] for answer in sent(response)["ProcessedClientActions"]] == [1, 3]


def plain_context() -> dict[str, str]:
    return {"aws:ssm:SessionId": "alice-163b6e16d334184d8", "aws:ssm:TargetId": "mi-b50b9fe278c90b63c"}


# -- time and nonsense -------------------------------------------------------------------------------------------------


def test_agent_waits_15_seconds_for_each_answer() -> None:
    agent, client = agent_half(kms_key_id="alias/test"), client_half()
    client.receive(5, agent.start(100.0)[0].payload)
    assert agent.due_at() == 115.0
    agent.receive(6, client.key_generated(DATA_KEY, ENCRYPTED_KEY)[1].payload, 110.0)
    assert agent.due_at() is None
    agent.key_opened(DATA_KEY, 120.0)
    assert agent.due_at() == 135.0
    [failed] = agent.time_out()
    assert isinstance(failed, Failed)
    assert "15 seconds" in failed.reason
    assert agent.is_over
    assert agent.due_at() is None


def test_what_a_client_types_before_the_session_begins_is_passed_over() -> None:
    agent = agent_half()
    agent.start(0.0)
    for payload_type in (1, 3, 9, 10, 99):
        assert agent.receive(payload_type, b"early", 0.0) == []


def test_nothing_that_comes_after_the_end_begins_it_again() -> None:
    agent, client = agent_half(), client_half()
    run(agent, client)
    for payload_type in range(13):
        assert agent.receive(payload_type, b"{}", 0.0) == client.receive(payload_type, b"{}") == []
    with pytest.raises(LocalProtocolError, match="once"):
        agent.start(1.0)


def test_request_that_comes_twice_is_answered_once() -> None:
    client = client_half()
    assert len(client.receive(5, official_request())) == 1
    assert client.receive(5, official_request()) == []


def test_handshake_that_ends_before_it_begins_is_none() -> None:
    [failed] = client_half().receive(7, b"{}")
    assert isinstance(failed, Failed)
    [failed] = client_half().receive(8, b'{"Challenge":""}')
    assert isinstance(failed, Failed)


NONSENSE = [b"[]", b"null", b"1", b'"x"', b"", b"{", b"\xff", b"[" * 60_000, b" " * 70_000]
ODD_MEMBERS: list[dict[str, Any]] = [
    {"RequestedClientActions": {}},
    {"RequestedClientActions": [1]},
    {"RequestedClientActions": [{}] * 17},
    {"RequestedClientActions": [{"ActionType": 1}]},
    {"RequestedClientActions": [{"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": 5}}]},
    {"RequestedClientActions": [{"ActionType": "SessionType", "ActionParameters": "x"}]},
    {"AgentVersion": []},
]


@pytest.mark.parametrize("payload", NONSENSE + [json.dumps(members).encode() for members in ODD_MEMBERS])
def test_nonsense_from_an_agent_ends_the_handshake(payload: bytes) -> None:
    for payload_type in (5, 7, 8) if payload in NONSENSE else (5,):
        client = client_half()
        steps = client.receive(payload_type, payload)
        assert isinstance(steps[-1], Failed)
        assert client.is_over


@pytest.mark.parametrize(
    "payload",
    [
        *NONSENSE,
        b'{"ProcessedClientActions":"x"}',
        b'{"ProcessedClientActions":[{"ActionStatus":"1"}]}',
        b'{"ProcessedClientActions":[{"ActionStatus":1,"ActionType":[]}],"ClientVersion":{}}',
        official_response(ActionType="KMSEncryption", ActionResult=[]),
        official_response(ActionType="KMSEncryption", ActionResult=None),
        official_response(ActionType="KMSEncryption", ActionResult={"KMSCipherTextKey": "*"}),
    ],
)
def test_nonsense_from_a_client_ends_the_handshake(payload: bytes) -> None:
    agent = agent_half(kms_key_id="alias/test")
    agent.start(0.0)
    [failed] = agent.receive(6, payload, 0.0)
    assert isinstance(failed, Failed)
    assert agent.is_over


@pytest.mark.parametrize(
    "offer",
    [
        None,
        [],
        "x",
        {},
        {"FrameBytes": 1024},
        {"FrameBytes": True, "WindowBytes": True},
        {"FrameBytes": 1024.0, "WindowBytes": 2048},
        {"FrameBytes": "1024", "WindowBytes": "2048"},
        {"FrameBytes": 1023, "WindowBytes": 2048},
        {"FrameBytes": 0, "WindowBytes": 0},
        {"FrameBytes": -1, "WindowBytes": -1},
        {"FrameBytes": 4096, "WindowBytes": 2048},
    ],
)
def test_absurd_terms_are_no_terms(offer: Any) -> None:
    assert OUR_TERMS.agreed(offer) is None
    client = client_half()
    [response] = client.receive(5, official_request(Fleetward=offer))
    assert "Fleetward" not in sent(response)


@given(st.integers(), st.integers())
def test_terms_are_never_more_than_ours(frame_bytes: int, window_bytes: int) -> None:
    for ours in (OUR_TERMS, Terms(2048, 4096)):
        terms = ours.agreed({"FrameBytes": frame_bytes, "WindowBytes": window_bytes})
        if terms is not None:
            assert terms.frame_bytes <= min(ours.frame_bytes, frame_bytes)
            assert terms.window_bytes <= min(ours.window_bytes, window_bytes)
            assert terms.frame_bytes <= terms.window_bytes


@pytest.mark.parametrize(
    ("frame_bytes", "window_bytes"), [(1023, 4096), (256 * 1024 + 1, 10**6), (4096, 2048), (4096, 8 * 1024**2 + 1)]
)
def test_terms_beyond_what_a_stream_can_hold_are_ours_to_avoid(frame_bytes: int, window_bytes: int) -> None:
    with pytest.raises(LocalProtocolError):
        Terms(frame_bytes, window_bytes)


def test_handshake_is_used_as_it_is_meant() -> None:
    agent, client = agent_half(), client_half()
    agent.start(0.0)
    with pytest.raises(LocalProtocolError, match="once"):
        agent.start(0.0)
    with pytest.raises(LocalProtocolError, match="no key"):
        client.key_generated(DATA_KEY, b"")
    with pytest.raises(LocalProtocolError, match="no key"):
        client.key_refused("")
    with pytest.raises(LocalProtocolError, match="type"):
        agent_half(session_type="Telepathy")
