"""Checks that every Bus must pass. Subclass `BusChecks` in a test module and give it a fixture `make_bus`.

class TestMyBus(BusChecks):
    shared = True                       # buses made by one test reach each other

    @pytest.fixture
    def make_bus(self):
        return lambda: MyBus(...)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fleetward.server.ports import Bus

WITHIN = 20.0
"""Seconds that any step of a check may take."""


class Ear:
    """Collects what a bus delivers and on which thread."""

    def __init__(self, bus: Bus) -> None:
        self.heard: list[str] = []
        self.threads: set[int] = set()
        self._changed = asyncio.Event()
        bus.subscribe(self._receive)

    def _receive(self, topics: Sequence[str]) -> None:
        self.heard += topics
        self.threads.add(threading.get_ident())
        self._changed.set()

    async def until(self, *topics: str) -> None:
        """Wait until all of the topics were heard."""
        async with asyncio.timeout(WITHIN):
            while not set(topics) <= set(self.heard):
                self._changed.clear()
                await self._changed.wait()


async def hears(speaker: Bus, ear: Ear) -> None:
    """Publish until the ear hears: two buses have found each other."""
    async with asyncio.timeout(WITHIN):
        while "hello" not in ear.heard:
            speaker.publish(["hello"])
            await asyncio.sleep(0.01)
    ear.heard.clear()


def in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run a check's coroutine in a loop of its own."""
    asyncio.run(work)


class BusChecks:
    """What the server relies on."""

    shared = False
    """Whether buses of one test are meant to reach each other."""

    def test_publication_reaches_all_own_receivers_on_the_loop(self, make_bus: Callable[[], Bus]) -> None:
        """Each receiver gets the topics, on the loop's thread, from whatever thread they come."""

        async def check() -> None:
            bus = make_bus()
            first, second = Ear(bus), Ear(bus)
            await bus.start()
            thread = threading.Thread(target=bus.publish, args=(["from/thread"],))
            thread.start()
            bus.publish(["a", "b"])
            for ear in (first, second):
                await ear.until("a", "b", "from/thread")
                assert ear.threads == {threading.get_ident()}
                assert sorted(ear.heard) == ["a", "b", "from/thread"]
            thread.join()
            await bus.stop()

        in_loop(check())

    def test_publisher_is_never_entered_again(self, make_bus: Callable[[], Bus]) -> None:
        """Delivery happens after `publish` returns, so a publisher may hold locks."""

        async def check() -> None:
            bus = make_bus()
            ear = Ear(bus)
            await bus.start()
            bus.publish(["later"])
            assert ear.heard == []
            await ear.until("later")
            await bus.stop()

        in_loop(check())

    def test_publish_outside_start_and_stop_is_no_fault(self, make_bus: Callable[[], Bus]) -> None:
        """Wakes nobody can hear are dropped."""
        bus = make_bus()
        ear: list[Ear] = []

        async def check() -> None:
            ear.append(Ear(bus))
            bus.publish(["before"])
            await bus.start()
            await bus.stop()
            bus.publish(["after"])

        in_loop(check())
        bus.publish(["much later"])
        assert ear[0].heard == []

    def test_nothing_published_is_nothing_delivered(self, make_bus: Callable[[], Bus]) -> None:
        """An empty publication wakes nobody."""

        async def check() -> None:
            bus = make_bus()
            calls: list[Sequence[str]] = []
            bus.subscribe(calls.append)
            ear = Ear(bus)
            await bus.start()
            bus.publish([])
            bus.publish(["x"])
            await ear.until("x")
            assert [list(topics) for topics in calls] == [["x"]]
            await bus.stop()

        in_loop(check())

    def test_many_topics_at_once_all_arrive(self, make_bus: Callable[[], Bus]) -> None:
        """20,000 nodes' topics in one publication, here and at the other servers."""

        async def check() -> None:
            buses = [make_bus() for _ in range(2 if self.shared else 1)]
            ears = [Ear(bus) for bus in buses]
            for bus in buses:
                await bus.start()
            await hears(buses[0], ears[-1])
            topics = [f"node/123456789012/us-east-1/mi-{number:017x}" for number in range(20_000)]
            buses[0].publish(topics)
            for ear in ears:
                await ear.until(*topics[::1000], topics[-1])
                assert [topic for topic in ear.heard if topic != "hello"] == topics
            for bus in buses:
                await bus.stop()

        in_loop(check())

    def test_servers_hear_each_other_once(self, make_bus: Callable[[], Bus]) -> None:
        """Each server hears each publication once, its own included."""
        if not self.shared:
            return

        async def check() -> None:
            one, other = make_bus(), make_bus()
            one_ear, other_ear = Ear(one), Ear(other)
            await one.start()
            await other.start()
            await hears(one, other_ear)
            await hears(other, one_ear)
            one.publish(["from/one", 'ünïcode "quoted"\nline'])
            await one_ear.until("from/one")
            await other_ear.until("from/one", 'ünïcode "quoted"\nline')
            other.publish(["from/other"])
            await one_ear.until("from/other")
            await other_ear.until("from/other")
            for ear in (one_ear, other_ear):
                assert ear.heard.count("from/one") == ear.heard.count("from/other") == 1
            await one.stop()
            await other.stop()

        in_loop(check())
