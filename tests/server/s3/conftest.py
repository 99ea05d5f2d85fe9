"""S3's core without the edge: entries run as in production, and objects' bytes lie in a folder of the test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetward.server.backends.objects_folder import FolderObjects
from fleetward.server.edge.background import _delete_all, _old_keys
from fleetward.server.jobs import DeleteObjects, ForgetUnfinished, Job, ListObjects, Next
from fleetward.server.s3 import content
from fleetward.server.s3 import s3 as service
from fleetward.server.s3.capabilities import S3
from fleetward.server.s3.content import Stored
from fleetward.server.service import Entry
from tests.server.conftest import ACCOUNT, REGION, World

assert S3


class Core:
    """A bucket called `b` and the folder of its blobs, on the world's clock."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.objects = FolderObjects(folder)
        world.services["s3"] = service
        self.run("CreateBucket", Bucket="bucket-b")

    def run(self, operation: str, **request: Any) -> Any:
        """An operation, as root."""
        return self.world.submit(service.operations[operation], self.world.as_root(), request)

    def store(self, body: bytes) -> Stored:
        """Bytes streamed to Objects, as the edge does before the entry."""
        blob = content.new_blob(ACCOUNT, REGION)
        self.objects.put(content.storage_key(blob), [body])
        return Stored(blob, len(body), hashlib.md5(body, usedforsecurity=False).hexdigest())

    def put(self, key: str, body: bytes = b"x", **more: Any) -> Stored:
        """PutObject."""
        stored = self.store(body)
        self.run("PutObject", Bucket="bucket-b", Key=key, Body=stored, **more)
        return stored

    def listed(self) -> list[str]:
        """The keys that ListObjectsV2 shows."""
        return [each["Key"] for each in self.run("ListObjectsV2", Bucket="bucket-b").get("Contents", [])]

    def blobs(self) -> list[str]:
        """What lies under Objects, by blob."""
        return [each.key.removeprefix(content.FOLDER) for each in self.objects.list("")]

    def timer(self, name: str) -> None:
        """Run a timer's entry until it has no more to do."""
        (timer,) = [each for each in service.timers if each.name.endswith(name)]
        while self.world.submit(timer.entry, self.world.as_root(), None) is True:
            pass

    def jobs(self, kind: str) -> int:
        """Run every due job of a kind to its end, effects included; how many there were."""
        from fleetward.server import jobs

        def due(call: Any, request: Any) -> list[Job]:
            return [job for job in jobs.lease(call, ("test", 100)) if job.kind == kind]

        leased = self.world.entry(due)(())
        for job in leased:
            self._finish(job, jobs.advance(service.jobs[kind].function))
        return len(leased)

    def _finish(self, job: Job, step: Callable[..., Next]) -> None:
        from dataclasses import replace

        entry = Entry("test job", step, audit=False)
        while job.step:
            following = self.world.submit(entry, self.world.as_root(), ("test", job))
            outcome = [self._perform(effect) for effect in following.effects]
            job = replace(job, step=following.step, state=following.state, outcome=outcome)
            if not following.effects and following.step:
                from fleetward.server import jobs

                self.world.entry(lambda call, _: jobs.lease(call, ("test", 100)))(())

    def _perform(self, effect: Any) -> Any:
        if isinstance(effect, DeleteObjects):
            return _delete_all(self.objects, effect.keys)
        if isinstance(effect, ListObjects):
            return _old_keys(self.objects, effect)
        assert isinstance(effect, ForgetUnfinished)
        return self.objects.forget_unfinished(effect.before)


@pytest.fixture
def core(world: World, tmp_path: Path) -> Core:
    """S3 without the edge."""
    return Core(world, tmp_path / "objects")
