"""Checks that every Objects must pass. Subclass `ObjectsChecks` in a test module and give it a fixture `objects`.

class TestMyObjects(ObjectsChecks):
    @pytest.fixture
    def objects(self):
        return MyObjects(...)           # empty; a new one for each test
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from fleetward.server.ports import Objects

KEYS = (
    "a",
    "a/b",
    "a/b/c",
    "a.b",
    "a-b/c",
    "a b/c d.txt",
    "commands/1f0c/mi-0123456789abcdef0/stdout",
    "ends@/with@",
    "percent%41/%2F",
    "signs/!$&'()+,;=:?*|<>\"~#1",
    "ünï/códe",
    "..a/.b/c..",
    "Upper/Case",
    "upper/case",
)
REFUSED = ("", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "a\\..\\b", "a\0b", "a\nb", "x" * 1025)


class Boom(Exception):
    """What a check's upload raises on purpose."""


class ObjectsChecks:
    """What the server relies on. Each check gets an empty store."""

    def test_bytes_come_back_under_their_key(self, objects: Objects) -> None:
        """Every allowed key, names that contain each other included."""
        for key in KEYS:
            assert objects.put(key, [key.encode(), b"!"]) == len(key.encode()) + 1
        for key in KEYS:
            assert objects.get(key) == key.encode() + b"!"
        assert [info.key for info in objects.list("")] == sorted(KEYS)

    def test_keys_that_lead_elsewhere_are_refused(self, objects: Objects) -> None:
        """ValueError for traversal, empty segments, control characters, excess length; nothing is touched."""
        for key in REFUSED:
            for attempt in (
                lambda key=key: objects.put(key, [b"x"]),
                lambda key=key: objects.get(key),
                lambda key=key: objects.delete(key),
            ):
                try:
                    attempt()
                except ValueError:
                    continue
                raise AssertionError(f"{key!r} was not refused")
        assert list(objects.list("")) == []

    def test_absent_object_is_a_key_error(self, objects: Objects) -> None:
        """Also where only a longer key exists."""
        objects.put("folder/file", [b"x"])
        for key in ("none", "folder", "folder/file/below", "folder/fil"):
            try:
                objects.get(key)
            except KeyError:
                continue
            raise AssertionError(f"{key!r} was found")

    def test_put_replaces(self, objects: Objects) -> None:
        """The newest bytes count, also when they are fewer."""
        objects.put("key", [b"a long first version"])
        objects.put("key", [b"short"])
        assert objects.get("key") == b"short"
        assert [info.size_bytes for info in objects.list("key")] == [5]

    def test_failed_put_leaves_the_old_bytes(self, objects: Objects) -> None:
        """Whatever breaks while bytes arrive, nobody sees half an object, and none where none was."""

        def breaks_off() -> Iterator[bytes]:
            for _ in range(12):
                yield b"x" * 1024 * 1024
            raise Boom

        objects.put("old", [b"kept"])
        for key in ("old", "new"):
            try:
                objects.put(key, breaks_off())
            except Boom:
                continue
            raise AssertionError("the exception was lost")
        assert objects.get("old") == b"kept"
        assert [info.key for info in objects.list("")] == ["old"]

    def test_empty_object_exists(self, objects: Objects) -> None:
        """No bytes at all are an object too."""
        assert objects.put("empty", []) == 0
        assert objects.put("empty/too", [b"", b""]) == 0
        assert objects.get("empty") == objects.get("empty/too") == objects.get("empty", 5, 9) == b""
        assert [(info.key, info.size_bytes) for info in objects.list("e")] == [("empty", 0), ("empty/too", 0)]

    def test_ranges_are_slices(self, objects: Objects) -> None:
        """`get(key, start, end)` is `bytes[start:end]`, also beyond the end."""
        content = bytes(range(256)) * 4
        objects.put("key", [content])
        for start, end in ((0, None), (0, 1), (10, 20), (1000, None), (1000, 5000), (1024, None), (2000, 3000), (5, 5)):
            assert objects.get("key", start, end) == content[start:end]

    def test_large_object_survives_in_order(self, objects: Objects) -> None:
        """23 MB in uneven chunks, read in pieces."""
        chunks = [bytes([number % 251]) * (100_000 + 7 * number) for number in range(200)]
        total = sum(map(len, chunks))
        assert objects.put("large", iter(chunks)) == total
        digest = hashlib.sha256()
        for start in range(0, total, 4_000_000):
            digest.update(objects.get("large", start, start + 4_000_000))
        assert digest.digest() == hashlib.sha256(b"".join(chunks)).digest()
        assert [info.size_bytes for info in objects.list("large")] == [total]

    def test_delete_removes_one_object(self, objects: Objects) -> None:
        """And says nothing where there is none."""
        for key in ("a", "a/b", "a/c"):
            objects.put(key, [b"x"])
        objects.delete("a/b")
        objects.delete("a/b")
        objects.delete("never/there")
        assert [info.key for info in objects.list("")] == ["a", "a/c"]

    def test_list_takes_any_prefix_in_order_of_key(self, objects: Objects) -> None:
        """A prefix may end anywhere; order is that of the keys as text."""
        keys = [
            f"{top}/{middle}{number}" for top in ("a", "a.", "a0", "b") for middle in ("x", "y/") for number in range(3)
        ]
        for key in [*keys, "a"]:
            objects.put(key, [b"x"])
        for prefix in ("", "a", "a/", "a.", "a/x", "a/x1", "a/y", "a/y/", "a/y/2", "a/y/2x", "b/", "c", "a0/z"):
            expected = sorted(key for key in [*keys, "a"] if key.startswith(prefix))
            assert [info.key for info in objects.list(prefix)] == expected, prefix

    def test_list_tells_size_and_time(self, objects: Objects) -> None:
        """Time of last change, aware; clocks of store and caller may differ by minutes."""
        objects.put("key", [b"12345"])
        (info,) = objects.list("key")
        assert info.size_bytes == 5
        assert info.changed_at.tzinfo is not None
        assert abs(info.changed_at - datetime.now(UTC)) < timedelta(minutes=10)

    def test_threads_may_put_at_once(self, objects: Objects) -> None:
        """Also under one key: one of them wins whole."""
        versions = [bytes([number]) * 300_000 for number in range(8)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda content: objects.put("contested", [content]), versions))
            list(pool.map(lambda number: objects.put(f"own/{number}", [versions[number]]), range(8)))
        assert objects.get("contested") in versions
        assert [objects.get(f"own/{number}") for number in range(8)] == versions

    def test_upload_is_seen_when_it_is_finished_and_not_before(self, objects: Objects) -> None:
        """Pieces of any size; until the end the old bytes count."""
        objects.put("key", [b"old"])
        upload = objects.upload("key")
        for number in range(30):
            upload.write(bytes([number]) * 400_000)
            upload.write(b"")
        assert objects.get("key") == b"old"
        assert upload.finish() == 12_000_000
        assert objects.get("key", 400_000, 400_001) == b"\x01"
        assert [(info.key, info.size_bytes) for info in objects.list("")] == [("key", 12_000_000)]

    def test_abandoned_upload_leaves_nothing(self, objects: Objects) -> None:
        """Small and large; keys that lead elsewhere are refused at the beginning."""
        for pieces in (1, 12):
            upload = objects.upload("key")
            for _ in range(pieces):
                upload.write(b"x" * 1024 * 1024)
            upload.abandon()
        assert list(objects.list("")) == []
        for key in REFUSED:
            try:
                objects.upload(key)
            except ValueError:
                continue
            raise AssertionError(f"{key!r} was not refused")

    def test_reader_reads_pieces(self, objects: Objects) -> None:
        """Any range inside the object, in any order; absence is a KeyError at the opening."""
        content = bytes(range(256)) * 16
        objects.put("key", [content])
        reader = objects.open("key")
        for start, end in ((0, 10), (4000, 4096), (256, 256), (100, 2000)):
            assert reader.read(start, end) == content[start:end]
        reader.close()
        try:
            objects.open("absent")
        except KeyError:
            return
        raise AssertionError("what is absent was opened")

    def test_what_is_under_way_is_not_forgotten(self, objects: Objects) -> None:
        """Only uploads that rest since before the time given are; finished objects never."""
        objects.put("kept", [b"x"])
        upload = objects.upload("slow")
        upload.write(b"x")
        assert objects.forget_unfinished(datetime.now(UTC) - timedelta(hours=1)) == 0
        assert upload.finish() == 1
        objects.forget_unfinished(datetime.now(UTC) + timedelta(hours=1))
        assert [info.key for info in objects.list("")] == ["kept", "slow"]
