"""The agent: identity -> channel -> worker. Read this file first.

state folder --> identity (key, temporary keys) --> client (signed calls)
                                                      |
  control plane <==> channel (or polling) <==> worker --> execution --> steps --> plugins
                            ^    |      ^        |
                            +----|------|- replies <--+--> journal
                                 |      +-- associations, whose reports are calls
                                 +--> sessions, each in a process of its own
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

from fleetward.agent import chance, platforms, trust
from fleetward.agent.association_reports import AssociationReports
from fleetward.agent.associations import Associations
from fleetward.agent.channel import LONGEST_PAUSE_SECONDS, Channel
from fleetward.agent.client import Client, ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.identity import IdentityFault, RoleTokens, endpoint_of, load
from fleetward.agent.node import Node
from fleetward.agent.platforms import Platform
from fleetward.agent.report import AGENT_NAME, AGENT_VERSION, Replies
from fleetward.agent.sessions.supervisor import Supervisor
from fleetward.agent.state import StateFolder
from fleetward.agent.worker import Worker

log = logging.getLogger("fleetward.agent")

HEARTBEAT_SECONDS = 300.0
CLEAN_SECONDS = 24 * 3600.0
STOP_SECONDS = 10.0
FLUSH_SECONDS = 3.0


def run(folder: Path) -> int:
    """Run the agent on a state folder until SIGTERM or SIGINT: 0, or 1 when it cannot run, with the reason logged."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    state = StateFolder(folder)
    platform = platforms.current()
    try:
        load(state)
        state.prepare()
        lock = platform.lock(state.lock)
        if lock is None:
            raise IdentityFault(f"another agent runs on {folder}")
        asyncio.run(Agent(state, platform).run())
    except (IdentityFault, OSError) as fault:
        log.error("%s", fault)
        return 1
    return 0


class Agent:
    """Everything that runs in the resident process."""

    def __init__(self, state: StateFolder, platform: Platform) -> None:
        identity = load(state)
        endpoint = endpoint_of(state, identity.endpoint, identity.region)
        self._state = state
        self._platform = platform
        self._tokens = RoleTokens(state, endpoint, platform)
        self._client = Client(endpoint, identity.node_id, self._tokens)
        self._replies = Replies()
        node = Node(identity.node_id, identity.region, state, platform, self._client)
        reports = AssociationReports(self._client)
        self._worker = Worker(node, self._replies, reports)
        self._associations = Associations(node, self._worker, reports)
        self._sessions = Supervisor(node, self._tokens)
        self._channel = Channel(self._client, self._worker, self._replies, self._sessions, platform.platform_type)

    async def run(self) -> None:
        """Run until told to stop; then let steps end, tell what can be told, and go."""
        stopped = asyncio.Event()
        _on_signals(stopped)
        log.info("agent %s of node %s", AGENT_VERSION, self._client.node_id)
        duties = [
            asyncio.create_task(self._tokens.keep_fresh()),
            asyncio.create_task(self._work()),
            asyncio.create_task(self._beat()),
            asyncio.create_task(self._clean()),
            asyncio.create_task(self._trust()),
        ]
        stopping = asyncio.create_task(_until(stopped))
        done, _ = await asyncio.wait([*duties, stopping], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(self._worker.stop(STOP_SECONDS), self._sessions.stop(STOP_SECONDS))
        if self._channel.kind:
            await self._replies.wait_empty(FLUSH_SECONDS)
        if self._channel.is_open:
            await self._sessions.ends.wait_empty(FLUSH_SECONDS)
        for task in duties:
            task.cancel()
        await asyncio.gather(*duties, return_exceptions=True)
        for task in done:
            if task is not stopping:
                task.result()  # a duty never ends by itself: show why it did

    async def _work(self) -> None:
        """Take up what was in progress, once it is certain that the machine was not set back; then take more."""
        pause = 1.0
        while True:
            try:
                await self._channel.confirm()
                break
            except (ServiceFault, HttpFault) as error:
                log.warning("the control plane does not answer: %s", error)
            await asyncio.sleep(pause * chance.between(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        self._worker.resume()
        self._sessions.resume()
        await asyncio.gather(self._channel.run(), self._associations.run())

    async def _beat(self) -> None:
        """Tell that the node lives: at once, then every five minutes."""
        while True:
            try:
                await self._client.ssm("UpdateInstanceInformation", self._heartbeat())
            except (ServiceFault, HttpFault) as error:
                log.warning("no heartbeat: %s", error)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _heartbeat(self) -> dict[str, str]:
        name, version = self._platform.name_and_version()
        return {
            "AgentName": AGENT_NAME,
            "AgentStatus": "Active",
            "AgentVersion": AGENT_VERSION,
            "AvailabilityZone": "",
            "AvailabilityZoneId": "",
            "ComputerName": socket.gethostname(),
            "IPAddress": own_address(self._client.endpoint.url.host),
            "InstanceId": self._client.node_id,
            "PlatformName": name,
            "PlatformType": self._platform.platform_type,
            "PlatformVersion": version,
            "SSMConnectionChannel": self._channel.kind,
        }

    async def _trust(self) -> None:
        """Learn of new CAs; without TLS there is nothing to learn."""
        await trust.keep(self._state, self._client.endpoint)
        await asyncio.Event().wait()

    async def _clean(self) -> None:
        while True:
            self._worker.clean()
            self._sessions.clean()
            await asyncio.sleep(CLEAN_SECONDS)


def own_address(host: str) -> str:
    """This machine's address on the way to the world; a UDP socket is asked, nothing is sent.

    On a machine without a way out it is the one towards `host`, or empty.
    """
    for target in ("192.0.2.1", host):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return ""


async def _until(stopped: asyncio.Event) -> None:
    await stopped.wait()


def _on_signals(stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
        else:
            loop.add_signal_handler(number, stopped.set)
