"""Collection: bytes go an hour after their last reference, and those that no row came to refer to after a day."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from fleetward.server.s3 import content
from tests.server.s3.conftest import Core


def collect(core: Core, after: timedelta = timedelta(hours=2)) -> None:
    core.world.clock.advance(after)
    core.timer("collection.collect")
    core.jobs("s3-collect")


def test_replaced_and_deleted_bytes_are_collected_after_a_while(core: Core) -> None:
    old, new = core.put("k", b"old"), core.put("k", b"new")
    collect(core, timedelta(minutes=30))
    assert sorted(core.blobs()) == sorted([old.blob, new.blob])
    collect(core)
    assert core.blobs() == [new.blob]
    core.run("DeleteObject", Bucket="bucket-b", Key="k")
    collect(core)
    assert core.blobs() == []


def test_bytes_that_a_copy_refers_to_stay(core: Core) -> None:
    stored = core.put("k", b"x")
    core.run("CopyObject", Bucket="bucket-b", Key="copy", CopySource="bucket-b/k")
    core.run("DeleteObject", Bucket="bucket-b", Key="k")
    collect(core)
    assert core.blobs() == [stored.blob]
    core.run("DeleteObject", Bucket="bucket-b", Key="copy")
    collect(core)
    assert core.blobs() == []


def begin(core: Core, parts: int, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    upload = core.run("CreateMultipartUpload", Bucket="bucket-b", Key="k")["UploadId"]
    made = []
    for number in range(1, parts + 1):
        stored = core.store(b"%d" % number)
        core.run("UploadPart", Bucket="bucket-b", Key="k", UploadId=upload, PartNumber=number, Body=stored)
        made.append({"PartNumber": number, "ETag": stored.md5})
    return upload, made


def test_parts_of_an_aborted_upload_are_collected(core: Core) -> None:
    upload, _ = begin(core, 3)
    core.run("AbortMultipartUpload", Bucket="bucket-b", Key="k", UploadId=upload)
    collect(core)
    collect(core)
    assert core.blobs() == []


def test_parts_that_were_not_chosen_are_collected_and_the_chosen_stay(core: Core) -> None:
    upload, made = begin(core, 3)
    core.run(
        "CompleteMultipartUpload", Bucket="bucket-b", Key="k", UploadId=upload, MultipartUpload={"Parts": made[1:2]}
    )
    collect(core)
    collect(core)
    assert len(core.blobs()) == 1
    core.run("DeleteObject", Bucket="bucket-b", Key="k")
    collect(core)
    assert core.blobs() == []


def test_an_object_of_many_parts_is_released_by_the_collector(core: Core) -> None:
    upload, made = begin(core, content.RELEASED_AT_ONCE + 5)
    for each in made[:-1]:
        each["small"] = True
    first = core.put("other", b"y")

    def join(call: Any, _: Any) -> None:
        """An object of as many slices as there are parts, whatever their size."""
        from fleetward.server.s3 import access, objects
        from fleetward.server.s3.multipart import LIST_PARTS
        from fleetward.server.s3.objects import New

        bucket = access.find(call, "bucket-b")
        rows = call.db.all(
            LIST_PARTS, account=bucket.account, in_region=bucket.region, of_upload=upload, after=0, most=999
        )
        slices = [each for row in rows for each in content.load(row.content)]
        content.share(call, slices)
        objects.store(call, bucket, "long", New(len(slices), "0" * 32, {}, {}, content.dump(slices)), None)

    core.world.entry(join)(())
    core.run("AbortMultipartUpload", Bucket="bucket-b", Key="k", UploadId=upload)
    collect(core)
    collect(core)
    assert len(core.blobs()) == len(made) + 1
    core.run("DeleteObject", Bucket="bucket-b", Key="long")
    collect(core)
    collect(core)
    assert core.blobs() == [first.blob]


def test_bytes_without_a_row_are_swept_once_they_are_a_day_old(core: Core) -> None:
    kept, lost = core.put("k", b"kept"), core.store(b"lost")
    core.world.entry(lambda call, _: content.make_tenant_key(call, (call.account, call.region)))(())
    now = core.world.clock.now().timestamp()
    for blob, age in ((kept.blob, 3), (lost.blob, 0.5)):
        os.utime(core.objects._file(content.storage_key(blob)), (now - age * 86400,) * 2)
    core.timer("collection.begin_sweep")
    core.jobs("s3-sweep")
    assert sorted(core.blobs()) == sorted([kept.blob, lost.blob])
    os.utime(core.objects._file(content.storage_key(lost.blob)), (now - 2 * 86400,) * 2)
    core.timer("collection.begin_sweep")
    core.jobs("s3-sweep")
    assert core.blobs() == [kept.blob]


def test_what_a_crash_left_unfinished_is_forgotten(core: Core) -> None:
    upload = core.objects.upload("s3/half")
    upload.write(b"half of it")
    core.world.entry(lambda call, _: content.make_tenant_key(call, (call.account, call.region)))(())
    core.world.clock.advance(timedelta(seconds=max(0.0, time.time() - core.world.clock.now().timestamp())))
    core.world.clock.advance(timedelta(days=3))
    core.timer("collection.begin_sweep")
    core.jobs("s3-sweep")
    assert list(core.objects._unfinished.iterdir()) == []
