"""One session from its request to its end, in the process that is its own.

request -> account, log -> data channel -> handshake -> shell | command | port -> transcript -> told
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from fleetward.agent.client import Client, Endpoint, ServiceFault, trust_only
from fleetward.agent.http import HttpFault, Url
from fleetward.agent.platforms import Platform
from fleetward.agent.platforms.account import Account
from fleetward.agent.platforms.terminal import Launch
from fleetward.agent.sessions.command import Command, Separation
from fleetward.agent.sessions.data_channel import TERMINATED, DataChannel
from fleetward.agent.sessions.denied import denied_addresses
from fleetward.agent.sessions.link import Link
from fleetward.agent.sessions.peer import Activity
from fleetward.agent.sessions.port import ManyConnections, OneConnection, Target, knows_many
from fleetward.agent.sessions.request import SessionFault, SessionRequest, SessionType, read_request
from fleetward.agent.sessions.run_as import account_for
from fleetward.agent.sessions.shell import Shell
from fleetward.agent.sessions.transcript import Transcript
from fleetward.agent.state import StateFolder
from fleetward.protocol.data_channel.handshake import (
    AgentHandshake,
    Completed,
    Encrypt,
    Failed,
    OpenKey,
    Send,
    Step,
)
from fleetward.protocol.data_channel.stream import Data
from fleetward.protocol.frame import PayloadType

log = logging.getLogger("fleetward.session")

PROTOCOL_VERSION = "3.3.0.0"
"""What official clients take for the agent's version: above 3.1.1511.0 they speak all that is spoken here."""
CLIENT_SECONDS = 60.0
"""How long a client may take to be there and answer. Ours: the official agent waits 15 s, its own start included."""
DRAIN_SECONDS = 20.0


async def run(link: Link, platform: Platform) -> dict[str, str]:
    """Run the session that the agent asks for; how it ended."""
    task = await link.task()
    try:
        return await Session(task, link, platform).run()
    except SessionFault as fault:
        log.warning("session %s: %s", task["session_id"], fault)
        return {"status": "Failed", "output": str(fault)}


class Session:
    """One session."""

    def __init__(self, task: Mapping[str, Any], link: Link, platform: Platform) -> None:
        self._task = task
        self._link = link
        self._platform = platform
        self._session_id: str = task["session_id"]
        self._state = StateFolder(Path(task["state"]))
        self._client = _client(task, self._state, link)
        self._channel = DataChannel(self._client, self._session_id, self._state.ca)
        self._early_size: Data | None = None

    async def run(self) -> dict[str, str]:
        """Run it to its end; SessionFault when it does not come to be."""
        name = self._platform.platform_type.lower()
        request = read_request(self._session_id, self._task["content"], name)
        account = account_for(request.run_as, self._platform) if request.session_type is not SessionType.PORT else None
        transcript = Transcript(self._state.transcripts, request, self._client, account.name if account else "")
        await transcript.check()
        keeping = asyncio.create_task(self._channel.keep())
        streaming = asyncio.create_task(transcript.stream())
        try:
            result = await self._until_over(self._talk(request, account, transcript), keeping)
        finally:
            for task in (streaming, keeping):
                task.cancel()
            await asyncio.gather(streaming, keeping, return_exceptions=True)
            told = await transcript.hand_in()
        return {**result, **told}

    async def _until_over(self, talk: Coroutine[Any, Any, None], keeping: asyncio.Task[None]) -> dict[str, str]:
        """The session itself, as long as neither the channel, nor the other side, nor the agent ends it."""
        talking = asyncio.create_task(talk)
        closing = asyncio.create_task(self._link.closed.wait())
        ends: set[asyncio.Future[Any]] = {talking, closing, keeping, self._channel.over}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        is_own_end = talking.done() and talking.exception() is None
        reason = "" if is_own_end else self._reason(keeping)
        closing.cancel()
        talking.cancel()
        try:
            await talking
        except asyncio.CancelledError:
            pass
        finally:
            await self._channel.finish(DRAIN_SECONDS if is_own_end else 0)
        return {"status": "Failed" if reason else "Success", "output": reason}

    def _reason(self, keeping: asyncio.Task[None]) -> str:
        """Why it ended from outside; empty when somebody wanted it so."""
        if self._channel.over.done():
            return self._channel.over.result()
        if keeping.done() and not self._link.closed.is_set:
            reason = str(keeping.exception() or "")
            return "" if reason == TERMINATED else reason
        return ""

    async def _talk(self, request: SessionRequest, account: Account | None, transcript: Transcript) -> None:
        completed = await self._shake_hands(request)
        if completed.terms is not None:
            self._channel.use(completed.terms)
        activity = self._begin(request, account, transcript, completed.client_version)
        try:
            self._channel.attach(activity, self._early_size)
            await activity.run()
        finally:
            await activity.end()

    def _begin(
        self, request: SessionRequest, account: Account | None, transcript: Transcript, client_version: str
    ) -> Activity:
        if request.session_type is SessionType.PORT:
            return self._port(request, client_version)
        if request.session_type is SessionType.NON_INTERACTIVE:
            return self._command(request, account, transcript)
        commands, profile = None, request.shell_profile
        if request.session_type is SessionType.INTERACTIVE:
            commands, profile = request.commands, ""
        launch = self._launch(self._platform.session_shell(commands), account)
        try:
            return Shell(self._platform.open_terminal(launch), self._channel, transcript.write, profile)
        except OSError as error:
            raise SessionFault(f"the shell cannot be started: {error}") from error

    def _launch(self, command: Sequence[str] | str, account: Account | None) -> Launch:
        environment = self._platform.session_environment(account)
        return Launch(command, environment, self._platform.session_folder(account), account)

    def _command(self, request: SessionRequest, account: Account | None, transcript: Transcript) -> Command:
        try:
            words = self._platform.split_command(request.commands)
        except ValueError as error:
            raise SessionFault(f"the commands cannot be split into words: {error}") from None
        separation = None
        if request.separates_output:
            separation = Separation(
                request.separator("stdOutSeparatorPrefix"), request.separator("stdErrSeparatorPrefix")
            )
        try:
            return Command(self._launch(words, account), self._platform, self._channel, transcript.write, separation)
        except OSError as error:
            raise SessionFault(f"the command cannot be started: {error}") from error

    def _port(self, request: SessionRequest, client_version: str) -> Activity:
        try:
            denied = denied_addresses(self._state.root)
        except (ValueError, OSError) as error:
            raise SessionFault(f"which addresses are denied on this node cannot be read: {error}") from error
        target = Target(request.host, request.port, denied)
        if request.is_local_forwarding and knows_many(client_version):
            return ManyConnections(target, self._channel)
        return OneConnection(target, self._channel, is_listening=request.is_local_forwarding)

    async def _shake_hands(self, request: SessionRequest) -> Completed:
        """Agree with the client on what the session is; SessionFault when that does not work out."""
        is_port = request.session_type is SessionType.PORT
        handshake = AgentHandshake(
            agent_version=PROTOCOL_VERSION,
            session_id=self._session_id,
            node_id=self._client.node_id,
            session_type=request.session_type.value,
            properties=dict(request.properties) if is_port else None,
            kms_key_id=request.kms_key_id,
            customer_message="This session is encrypted with a key of KMS." if request.kms_key_id else "",
        )
        loop = asyncio.get_running_loop()
        steps = handshake.start(loop.time())
        deadline = loop.time() + CLIENT_SECONDS
        while True:
            for step in steps:
                if isinstance(step, Completed):
                    return step
                await self._take(step)
            opening = [step for step in steps if isinstance(step, OpenKey)]
            if opening:
                steps = handshake.key_opened(await self._open_key(opening[0]), loop.time())
                continue
            data = await self._channel.next(max(0.0, deadline - loop.time()))
            if data is None:
                raise SessionFault(f"the client did not answer within {CLIENT_SECONDS:.0f} seconds")
            if data.payload_type == PayloadType.SIZE:
                self._early_size, steps = data, []
            else:
                steps = handshake.receive(data.payload_type, data.payload, loop.time())

    async def _take(self, step: Step) -> None:
        if isinstance(step, Send):
            self._channel.send(step.payload_type, step.payload)
        elif isinstance(step, Encrypt):
            self._channel.encrypt(step.keys)
        elif isinstance(step, Failed):
            raise SessionFault(f"the handshake failed: {step.reason}")

    async def _open_key(self, step: OpenKey) -> bytes:
        members = {
            "CiphertextBlob": base64.b64encode(step.encrypted_key).decode(),
            "EncryptionContext": dict(step.encryption_context),
            "KeyId": step.key_id,
        }
        try:
            answer = await self._client.kms("Decrypt", members)
            return base64.b64decode(answer["Plaintext"], validate=True)
        except (ServiceFault, HttpFault) as error:
            raise SessionFault(f"the session's key cannot be decrypted: {error}") from error
        except (KeyError, TypeError, binascii.Error, ValueError):
            raise SessionFault("the answer of KMS holds no key") from None


def _client(task: Mapping[str, Any], state: StateFolder, link: Link) -> Client:
    """Calls in the name of the node, with keys that the agent gives."""
    url = Url.parse(task["endpoint"])
    try:
        trust = trust_only(state.ca) if url.scheme == "https" else None
    except OSError as error:
        raise SessionFault(f"the control plane's certificates cannot be read: {error}") from error
    endpoint = Endpoint(url, trust, task["region"], timedelta(seconds=task["clock_offset_seconds"]))
    return Client(endpoint, task["node_id"], link)
