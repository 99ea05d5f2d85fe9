"""Jobs: leased to one server at a time, moved by steps, repeated after faults, taken over from the dead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, DeleteObject, Job, Next
from tests.both_databases import Core


def start(core: Core, key: str = "k", **state: Any) -> str:
    return core.do(lambda call: jobs.start(call, "kind", key, state))


def lease(core: Core, owner: str = "s1", most: int = 10) -> list[Job]:
    return core.run(jobs.lease, (owner, most))


def step(core: Core, job: Job, following: Next, owner: str = "s1") -> Next:
    return core.run(jobs.advance(lambda call, job: following), (owner, job))


def test_started_job_wakes_and_is_leased_with_its_state(core: Core) -> None:
    job_id = start(core, "key", count=1)
    assert core.wakes == [jobs.TOPIC]
    (job,) = lease(core)
    assert (job.job_id, job.kind, job.key, job.step, job.state, job.attempt) == (
        job_id,
        "kind",
        "key",
        "start",
        {"count": 1},
        0,
    )


def test_job_is_leased_to_one_server_at_a_time(core: Core) -> None:
    ids = {start(core, str(number)) for number in range(30)}
    with ThreadPoolExecutor(4) as pool:
        leased = [
            job.job_id for jobs_ in pool.map(lambda owner: lease(core, f"s{owner}", 10), range(4)) for job in jobs_
        ]
    assert len(leased) == 30
    assert set(leased) == ids
    assert lease(core, "s9") == []


def test_lapsed_lease_is_taken_over_and_the_first_owner_changes_nothing(core: Core) -> None:
    start(core)
    (job,) = lease(core, "dead")
    core.advance(seconds=jobs.LEASE.total_seconds() - 1)
    assert lease(core, "s2") == []
    core.advance(seconds=1)
    (again,) = lease(core, "s2")
    assert again == job
    with pytest.raises(jobs.LostLease):
        step(core, job, Next("late"), "dead")
    assert core.run(jobs.fail, ("dead", job, "late")) is None
    step(core, again, Next("two", {"a": 1}), "s2")
    (moved,) = lease(core)
    assert (moved.step, moved.state, moved.attempt) == ("two", {"a": 1}, 0)


def test_lost_lease_undoes_what_the_step_did(core: Core) -> None:
    start(core)
    (job,) = lease(core, "dead")
    core.advance(minutes=2)
    lease(core, "s2")

    def spawn(call: Call, _: Job) -> Next:
        jobs.start(call, "kind", "spawned", {})
        return DONE

    with pytest.raises(jobs.LostLease):
        core.run(jobs.advance(spawn), ("dead", job))
    assert lease(core) == []


def test_finished_job_is_not_leased_again_and_forgotten_after_its_days(core: Core) -> None:
    start(core)
    (job,) = lease(core)
    step(core, job, DONE)
    core.advance(days=6)
    core.do(jobs.forget)
    start(core, "second")
    (second,) = lease(core)
    assert second.key == "second"
    core.advance(days=2)
    core.do(jobs.forget)
    count = core.do(lambda call: len(call.db.all(jobs.jobs.select())))
    assert count == 1
    assert core.do(jobs.next_due) is not None


def test_step_waits_until_it_is_due(core: Core) -> None:
    start(core)
    (job,) = lease(core)
    due = core.time + timedelta(minutes=5)
    core.wakes.clear()
    step(core, job, Next("later", due_at=due))
    assert core.wakes == []
    assert lease(core) == []
    assert core.do(jobs.next_due) == due
    core.advance(minutes=5)
    assert [job.step for job in lease(core)] == ["later"]


def test_nudge_brings_waiting_jobs_of_the_key_forward(core: Core) -> None:
    for key in ("a", "b"):
        core.do(lambda call, key=key: jobs.start(call, "kind", key, {}, call.now + timedelta(hours=1)))
    core.wakes.clear()
    core.do(lambda call: jobs.nudge(call, "other", "a"))
    assert core.wakes == []
    core.do(lambda call: jobs.nudge(call, "kind", "a"))
    assert core.wakes == [jobs.TOPIC]
    assert [job.key for job in lease(core)] == ["a"]


def test_effects_leave_the_row_as_it_was_and_prolong_its_lease(core: Core) -> None:
    start(core)
    (job,) = lease(core)
    following = step(core, job, Next("two", effects=[DeleteObject("x")]))
    assert following.effects == [DeleteObject("x")]
    core.advance(seconds=(jobs.LEASE + jobs.EFFECT_LIMIT).total_seconds() - 1)
    assert lease(core, "s2") == []
    core.advance(seconds=1)
    assert lease(core, "s2") == [job]
    with pytest.raises(jobs.LostLease):
        step(core, job, Next("two", effects=[DeleteObject("x")]))


def test_fault_is_tried_again_after_growing_pauses_of_ten_minutes_at_most(core: Core) -> None:
    start(core)
    pauses = []
    for _ in range(13):
        (job,) = lease(core)
        core.run(jobs.fail, ("s1", job, "it broke " * 1000))
        due = core.do(jobs.next_due)
        pauses.append((due - core.time).total_seconds())
        assert lease(core) == []
        core.time = due
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]
    (job,) = lease(core)
    assert job.attempt == 13
    step(core, job, Next("on"))
    assert [job.attempt for job in lease(core)] == [0]


def test_tenants_share_the_runners_but_keep_their_jobs(core: Core) -> None:
    start(core)
    core.do(lambda call: jobs.start(call, "kind", "k", {}), region="eu-west-1")
    assert sorted(job.region for job in lease(core)) == ["eu-west-1", "us-east-1"]
