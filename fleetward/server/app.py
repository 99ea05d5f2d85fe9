"""READ FIRST. The server: settings -> ports -> capabilities -> edge, as lists.

Services and capabilities stand in order: one may call public functions of those before it, and tells later ones by
events. `Application.start` puts the parts together; `run` is the process around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from fleetward.protocol.api.model import load_service
from fleetward.server import (
    audit,
    beginning,
    certificates,
    ec2messages,
    ephemeral,
    jobs,
    key_rotation,
    keys,
    kms,
    logs,
    migrate,
    own,
    presence,
    regions,
    resource_groups,
    ssmmessages,
    sts,
)
from fleetward.server.backends.bus_local import LocalBus
from fleetward.server.backends.clock_system import SystemClock
from fleetward.server.backends.objects_folder import FolderObjects
from fleetward.server.backends.store_sqlite import SqliteStore
from fleetward.server.call import Call, Context, service_context
from fleetward.server.edge.background import Background
from fleetward.server.edge.channels import ROUNDS_OF_SILENCE, Channels
from fleetward.server.edge.console import Console
from fleetward.server.edge.data_channels import DataChannels
from fleetward.server.edge.fetch import Fetcher
from fleetward.server.edge.gathered import AUDIT_AT_ONCE, AUDIT_SECONDS, Gathered
from fleetward.server.edge.http import App, Page, Server, listen, server_names, split_address
from fleetward.server.edge.identities import Identities
from fleetward.server.edge.key_watch import KeyWatch
from fleetward.server.edge.memory import Memory
from fleetward.server.edge.oidc import Oidc
from fleetward.server.edge.outside import Performer
from fleetward.server.edge.pages import OUTPUTS, SESSIONS, Pages
from fleetward.server.edge.passwords import Passwords
from fleetward.server.edge.peers import Peers
from fleetward.server.edge.pipeline import Pipeline
from fleetward.server.edge.recorder import Recorders
from fleetward.server.edge.reset import PATH as RESET
from fleetward.server.edge.reset import Reset
from fleetward.server.edge.room import Room
from fleetward.server.edge.s3.requests import Storage
from fleetward.server.edge.upgrades import Upgrades
from fleetward.server.edge.waits import Waits
from fleetward.server.errors import AwsError
from fleetward.server.iam import api
from fleetward.server.ports import Bus, Clock, Objects, Store
from fleetward.server.s3.capabilities import S3, s3
from fleetward.server.service import Entry, Runner, Service, Timer
from fleetward.server.settings import Settings, SettingsFault
from fleetward.server.sign_ins import providers
from fleetward.server.ssm import (
    activations,
    change_calendar,
    compliance,
    documents,
    inventory,
    just_in_time_access,
    nodes,
    parameter_store,
    run_command,
    service_settings,
    session_manager,
    ssm,
    state_manager,
    tags,
)

log = logging.getLogger("fleetward.server")

SERVICES: Sequence[Service] = (
    api.iam,
    sts.sts,
    kms.kms,
    logs.logs,
    resource_groups.resource_groups,
    ssmmessages.ssmmessages,
    ec2messages.ec2messages,
    s3,
    ssm,
    own.own,
)
CAPABILITIES = (
    *S3,
    tags,
    service_settings,
    parameter_store,
    nodes,
    activations,
    compliance,
    inventory,
    documents,
    change_calendar,
    run_command,
    just_in_time_access,
    session_manager,
    state_manager,
)

ALONE = Entry("presence.alone", presence.alone)
FREE_JOBS = Entry("jobs.free-all", jobs.free_all)
FORGET_RINGS = Entry("keys.alone", key_rotation.alone)

RECORDINGS_LOOK = 60
"""How often the server looks for recordings that are still to be stored, seconds."""

RENEWAL_LOOK = 3600.0
"""How often the server looks whether its own certificate wants renewal, seconds."""

SEAL_AUDIT = Entry("timer audit.seal", audit.seal, audit=False)
FORGET_AUDIT = Entry("timer audit.forget", audit.forget, audit=False)
RECORD_SEEN = Entry("audit.record-seen", audit.record_seen, audit=False)
SIGNING_KEYS = Entry("nodes.signing-keys", nodes.signing_keys, reads=True)
ACCESS_LIVES = Entry("just-in-time-access.lives", just_in_time_access.lives, reads=True)

TIMERS: Sequence[Timer] = (
    Timer("audit.seal", timedelta(seconds=2), SEAL_AUDIT, audit.TENANTS_UNSEALED),
    Timer("audit.forget", timedelta(hours=1), FORGET_AUDIT, None),
    *(timer for service in SERVICES for timer in service.timers),
)


def open_store(settings: Settings) -> Store:
    """The store that the settings name, its tables in place."""
    if settings.database:
        from fleetward.server.backends.store_postgres import PostgresStore

        return PostgresStore(settings.database, slow_entry_fails=settings.slow_entry_fails)
    return SqliteStore(
        settings.data / "fleetward.db",
        slow_entry_fails=settings.slow_entry_fails,
        durable=not settings.ephemeral,
    )


def open_bus(settings: Settings) -> Bus:
    """The bus that the settings name."""
    if settings.bus:
        from fleetward.server.backends.bus_nats import NatsBus

        return NatsBus(settings.bus)
    return LocalBus()


def open_objects(settings: Settings) -> Objects:
    """The object store that the settings name."""
    if settings.objects:
        from fleetward.server.backends.objects_s3 import S3Objects

        return S3Objects(settings.objects)
    return FolderObjects(settings.data / "objects")


def create_tables(store: Store) -> None:
    """Bring the store's tables to this version."""
    migrate.upgrade(store.engine)  # type: ignore[attr-defined]  # of our stores, not of the port


class FolderInUse(SettingsFault):
    """Another server works on this data folder."""


def lock_folder(data: Path) -> IO[str]:
    """Make this process the folder's only server; the lock goes with the process."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (data / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        file.close()
        raise FolderInUse(f"another server is using {data}") from fault
    return file


class Application:
    """One server put together. `start` returns once it serves; `stop` ends it in order."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.providers = providers.load(settings.oidc)
        self.lock = lock_folder(settings.data) if not settings.database else None
        self.keys = keys.load_ring(settings.data, settings.keys)
        self.store = open_store(settings)
        self.clock = clock or getattr(self.store, "clock", None) or SystemClock()  # servers share their database's
        create_tables(self.store)
        self.bus = open_bus(settings)
        self.objects = open_objects(settings)
        self.runner = Runner(
            store=self.store,
            bus=self.bus,
            clock=self.clock,
            keys=self.keys,
            settings=settings,
            services=SERVICES,
        )
        self.models = {service.name: load_service(service.name) for service in SERVICES}
        self.runner.record = self._record
        self.store.deliver = self._deliver_here  # type: ignore[attr-defined]
        self.keys.use(beginning.run_now(self.runner, settings, key_rotation.begin))
        self.waits = Waits()
        self.memory = Memory()
        self.reads = Gathered(self._keep_seen, AUDIT_SECONDS, AUDIT_AT_ONCE)
        self.server_id = keys.new_access_key_id("")
        self.addresses: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._tls: ssl.SSLContext | None = None

    async def start(self) -> None:
        """Open the port and start everything behind it."""
        self._loop = asyncio.get_running_loop()
        self.store.deliver = self._deliver  # type: ignore[attr-defined]
        self.identities = Identities(self.call, self.keys, self.settings, SIGNING_KEYS, ACCESS_LIVES)
        self.channels = Channels(runner=self.runner, services=SERVICES, server_id=self.server_id)
        ec2messages.offer(self.channels.take.function, ssm.replies)
        self.passwords = Passwords()
        self.fetcher = Fetcher(self.settings.allow_fetch, self.settings.fetch_ca, self._ports)
        self.performer = Performer(self.fetcher, self.passwords)
        self.pipeline = Pipeline(
            runner=self.runner,
            services=self.runner.services,
            models=self.models,
            identities=self.identities,
            waits=self.waits,
            room=Room(self.settings.data),
            performer=self.performer,
            deny=self._deny,
            audit_read=self._audit_read,
        )
        self.recorders = Recorders(folder=self.settings.data / "recordings", objects=self.objects, run=self.call)
        self.data_channels = DataChannels(
            runner=self.runner,
            run=self.call,
            server_id=self.server_id,
            keys=self.keys,
            clock=self.clock,
            holder=self.identities.holder,
            recorders=self.recorders,
        )
        self.peers = Peers(
            channels=self.data_channels,
            run=self.call,
            ring=self.keys,
            settings=self.settings,
            server_id=self.server_id,
            memory=self.memory,
        )
        self.data_channels.peers = self.peers
        self.key_watch = KeyWatch(run=self.call, ring=self.keys, settings=self.settings, server_id=self.server_id)
        self.bus.subscribe(self._wake)
        await self.bus.start()
        await self.identities.refresh(self.clock.now())
        await self.key_watch.look(self.clock.now())
        await self.peers.look()
        self.runner.settings = replace(self.settings, peer_listen=self.peers.address)  # its port is known now
        self.background = Background(
            runner=self.runner,
            run=self.call,
            waits=self.waits,
            services=SERVICES,
            timers=TIMERS,
            objects=self.objects,
            server_id=self.server_id,
            wake=self._wake,
            every_second=self._every_second,
        )
        if self.lock is not None:  # whoever held something before has gone
            home = service_context(self.settings.account, self.settings.default_region)
            await self.call(ALONE, home, self.server_id)
            await self.call(FREE_JOBS, home, self.server_id)
            await self.call(FORGET_RINGS, home, self.server_id)
        self._tasks += await self.background.start()
        await self._serve()
        self._tasks.append(asyncio.create_task(self._renew_certificate()))
        self._tasks.append(asyncio.create_task(self._watch_channels()))
        self._tasks.append(asyncio.create_task(self._watch_sessions()))

    async def call(self, entry: Entry, context: Context, request: Any) -> Any:
        """Run one entry and wait for its commit."""
        return await self.pipeline.call(entry, context, request)

    async def stop(self) -> None:
        """Refuse new work, close channels, finish what runs, close the store."""
        self.pages.stopping = True
        self.channels.close_all()
        await self.peers.close()
        self.data_channels.close_all()
        self.waits.close()
        self.server.should_exit = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._serving), 8)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.background.stop(), 2)
        await self.bus.stop()
        await self.recorders.stop()
        self.storage.close()
        self.passwords.close()
        self.reads.flush()
        self.pipeline.requests.flush()
        self.store.deliver = self._deliver_here  # type: ignore[attr-defined]
        await asyncio.to_thread(self.store.close)
        if self.lock is not None:
            self.lock.close()

    async def _serve(self) -> None:
        files = self._certificate_files()
        self._tls = certificates.server_context(files.certificate, files.key)
        sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        for address in self.settings.listen:
            sockets.append((listen(address), self._tls))
        self.addresses = [_url("https", each) for each, _ in sockets]
        self.runner.settings = replace(self.runner.settings, public_url=self._public_url())  # and now that of this one
        if self.settings.http:
            host, _ = split_address(self.settings.http)
            if host not in ("127.0.0.1", "::1", "localhost"):
                raise SettingsFault("the plain-HTTP address must be on loopback")
            sockets.append((listen(self.settings.http), None))
            self.addresses.append(_url("http", sockets[-1][0]))
        ca = None if self.settings.tls_certificate else files.ca
        self.pages = Pages(pipeline=self.pipeline, objects=self.objects, settings=self.settings, ca=ca)
        console = Console(
            run=self.call,
            settings=self.settings,
            passwords=self.passwords,
            now=self.clock.now,
            throttle=self.pipeline.throttle,
        )
        oidc = Oidc(
            run=self.call,
            providers=self.providers,
            fetcher=self.fetcher,
            performer=self.performer,
            console=console,
            public_url=self._public_url,
            now=self.clock.now,
        )
        app = App(
            self.pipeline,
            self.settings,
            {
                "GET /healthz": self.pages.healthz,
                "GET /readyz": self.pages.readyz,
                "GET /_fleetward/ca.pem": self.pages.ca,
                "GET /_fleetward/ca-succession.pem": self.pages.succession,
                "POST /console/session": console.session,
                "DELETE /console/session": console.sign_out,
                "GET /console/providers": oidc.providers,
                "GET /console/oidc/start": oidc.start,
                "GET /console/oidc/callback": oidc.callback,
                **self._pages_of_ephemeral(),
            },
            {OUTPUTS: self.pages.outputs, SESSIONS: self.pages.sessions},
        )
        app.storage = self.storage = Storage(
            pipeline=self.pipeline,
            model=self.models["s3"],
            service=s3,
            objects=self.objects,
            clock=self.clock,
        )
        upgrades = Upgrades(
            app=app,
            pipeline=self.pipeline,
            channels=self.channels,
            data_channels=self.data_channels,
            keys=self.keys,
        )
        self.server = Server(app, self.settings, upgrades, sockets, self.memory)
        self._serving = asyncio.create_task(self.server.serve())
        await self.server.serving.wait()

    def _pages_of_ephemeral(self) -> dict[str, Page]:
        if not self.settings.ephemeral:
            return {}
        reset = Reset(
            run=self.call,
            empty=Entry("start-over", beginning.start_over, audit=False),
            home=service_context(self.settings.account, self.settings.default_region),
            channels=self.channels,
            waits=self.waits,
            objects=self.objects,
            forget=self._forget,
        )
        return {f"POST {RESET}": reset.page}

    async def _forget(self) -> None:
        """Drop what is remembered of the store, and read anew what is always known."""
        self.identities.forget()
        self.storage.forget()
        await self._every_second(self.clock.now())

    async def _watch_channels(self) -> None:
        while True:
            await asyncio.sleep(self.settings.channel_silence / ROUNDS_OF_SILENCE)
            self.channels.next_round()

    async def _watch_sessions(self) -> None:
        """Every second: sessions that are over, grants that were taken away; every minute: recordings left over."""
        for second in itertools.count():
            try:
                await self.data_channels.every_second()
                await self.peers.look()
                if second % RECORDINGS_LOOK == 0:
                    await self.recorders.sweep()
            except Exception:
                log.exception("sessions were not looked at")
            await asyncio.sleep(1)

    async def _renew_certificate(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_LOOK)
            try:
                self.reload_certificate()
            except certificates.CertificateFault:
                log.exception("the certificate was not renewed")

    def reload_certificate(self) -> None:
        """Load the certificate files anew for connections from now on (SIGHUP, and when ours was renewed)."""
        files = self._certificate_files()
        assert self._tls is not None
        certificates.load(self._tls, files.certificate, files.key)

    def _certificate_files(self) -> certificates.Files:
        if self.settings.tls_certificate:
            certificate = Path(self.settings.tls_certificate)
            return certificates.Files(certificate, certificate, Path(self.settings.tls_key))
        return certificates.prepare(
            self.settings.data / "tls", server_names(self.settings), self.identities.regions, self.clock.now()
        )

    def _deliver_here(self, finished: Sequence[tuple[Callable[[Any], None], Any]]) -> None:
        for done, outcome in self.runner.delivered(finished):
            done(outcome)

    def _deliver(self, finished: Sequence[tuple[Callable[[Any], None], Any]]) -> None:
        told = self.runner.delivered(finished)
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_tell, told)
        except RuntimeError:  # the loop has ended: nobody waits any more
            return

    def _wake(self, topics: Sequence[str]) -> None:
        self.channels.wake(topics)
        self.data_channels.wake(topics)
        self.waits.wake(topics)
        if any(topic.startswith("iam/") or topic == regions.TOPIC for topic in topics):
            self.identities.forget()
            self._soon(self._every_second(self.clock.now()))
        if key_rotation.TOPIC in topics:
            self._soon(self.key_watch.look(self.clock.now()))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))
        self._tasks = [task for task in self._tasks if not task.done()]

    async def _every_second(self, now: datetime) -> None:
        before = self.identities.regions
        await self.identities.refresh(now)
        if self.identities.regions != before and self._tls is not None:
            self.reload_certificate()  # it names the regions
        await self.key_watch.look(now)
        self.memory.look(time.monotonic())
        await self.identities.write_uses(now)

    def _public_url(self) -> str:
        """The URL that people reach this server by, as the settings say and never as a request does."""
        if self.settings.public_url:
            return self.settings.public_url.rstrip("/")
        name, port = server_names(self.settings)[0], urlsplit(self.addresses[0]).port
        return f"https://[{name}]:{port}" if ":" in name else f"https://{name}:{port}"

    def _ports(self) -> list[int]:
        return [urlsplit(address).port or 443 for address in self.addresses]

    def _shape(self, entry: Entry) -> Any:
        service, _, operation = entry.name.partition(":")
        return self.models[service].operations[operation].input if service in self.models else None

    def _record(self, call: Call, entry: Entry, request: Any, error: AwsError | None) -> None:
        audit.record(call, entry, audit.redact(self._shape(entry), request), error)

    def _deny(self, context: Context, entry: Entry, request: Any, fault: AwsError) -> None:
        self._keep_seen([self._seen(context, entry, request, fault)])

    def _audit_read(self, context: Context, entry: Entry, request: Any) -> None:
        self.reads.add(self._seen(context, entry, request))

    def _seen(self, context: Context, entry: Entry, request: Any, fault: AwsError | None = None) -> audit.Seen:
        return audit.Seen(context, self.clock.now(), entry, audit.redact(self._shape(entry), request), fault)

    def _keep_seen(self, seen: Sequence[audit.Seen]) -> None:
        home = service_context(self.settings.account, self.settings.default_region)
        self.runner.submit(RECORD_SEEN, home, seen, _log_failure)


def _tell(told: Sequence[tuple[Callable[[Any], None], Any]]) -> None:
    for done, outcome in told:
        done(outcome)


def _log_failure(outcome: Any) -> None:
    if isinstance(outcome, BaseException):
        log.error("audit record not stored", exc_info=outcome)


def _url(scheme: str, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets one line once it serves."""
    with ephemeral.placed(settings) as placed:
        await _run(placed, announce)


async def _run(settings: Settings, announce: Callable[[str], None]) -> None:
    sys.setswitchinterval(0.0005)
    application = Application(settings)
    if not settings.ephemeral:
        ephemeral.keep(settings.data)
    created = await asyncio.to_thread(beginning.first_start, application.runner, settings)
    if created is not None:
        file = beginning.write_root_credentials(settings, created)
        log.info("root access key created", extra={"fields": {"file": str(file)}})
    if created is not None or settings.ephemeral:
        print(f"root credentials are in {settings.data / beginning.CREDENTIALS}", file=sys.stderr)  # noqa: T201
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await application.start()
    loop.add_signal_handler(signal.SIGHUP, application.reload_certificate)
    announce(f"ready {application.addresses[0]}")
    await ended.wait()
    await application.stop()
