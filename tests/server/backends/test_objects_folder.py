"""FolderObjects: the published checks, and what only a folder promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.backends.objects_folder import FolderObjects
from fleetward.server.backends.objects_keys import check_key, check_prefix, read, spell
from fleetward.testing.objects_checks import ObjectsChecks

segments = st.text(
    st.one_of(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp", "Zs")), st.just(" ")),
    min_size=1,
    max_size=20,
).filter(lambda text: text not in (".", "..") and not set(text) & set("/\\"))
keys = st.lists(segments, min_size=1, max_size=4).map("/".join)


class TestFolderObjects(ObjectsChecks):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> FolderObjects:
        return FolderObjects(tmp_path / "objects")


@given(st.dictionaries(keys, st.binary(max_size=40), max_size=12), st.text("ab/.@%", max_size=4))
def test_folder_is_a_sorted_dictionary(
    tmp_path_factory: pytest.TempPathFactory, model: dict[str, bytes], start: str
) -> None:
    objects = FolderObjects(tmp_path_factory.mktemp("objects"))
    for key, content in model.items():
        objects.put(key, [content])
    assert {key: objects.get(key) for key in model} == model
    assert [(info.key, info.size_bytes) for info in objects.list("")] == [(k, len(v)) for k, v in sorted(model.items())]
    for prefix in {key[: len(key) // 2 + 1] for key in model}:
        assert [info.key for info in objects.list(prefix)] == sorted(key for key in model if key.startswith(prefix))


@given(segments)
def test_spelling_is_reversible_and_stays_in_its_folder(segment: str) -> None:
    name = spell(segment)
    assert read(name) == segment
    assert not set(name) & set("/\\@#\0")


@given(keys)
def test_every_beginning_of_a_key_is_a_prefix(key: str) -> None:
    check_key(key)
    for length in range(len(key) + 1):
        assert check_prefix(key[:length]) == key[:length]


def test_prefixes_that_no_key_has_are_refused(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    for prefix in ("/", "../", "a//", "a/../", "a/../b", "\0"):
        with pytest.raises(ValueError):
            objects.list(prefix)


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from fleetward.server.backends.objects_folder import FolderObjects\n"
        "objects = FolderObjects(Path(sys.argv[1]))\n"
        "chunk = bytes(65536)\n"
        "objects.put('small', [chunk] * 160)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert objects.put('large', (chunk for _ in range(3200))) == 3200 * 65536\n"
        "objects.get('large', 1000, 2000)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 32 * 1024  # KiB; the object has 200 MiB


def test_unfinished_files_and_folders_for_others_are_not_objects(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path / "objects")
    objects.put("a/b", [b"x"])
    (tmp_path / "objects" / "a" / "b@#1").write_bytes(b"unfinished")
    assert [info.key for info in objects.list("")] == ["a/b"]
    assert (tmp_path / "objects").stat().st_mode & 0o077 == 0


def test_links_out_of_the_folder_lead_nowhere_by_key(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    objects = FolderObjects(tmp_path / "objects")
    for key in ("../outside/secret", "a/../../outside/secret", "/etc/passwd"):
        with pytest.raises(ValueError):
            objects.get(key)
    with pytest.raises(KeyError):
        objects.get("..%2Foutside%2Fsecret")
    assert os.listdir(tmp_path / "outside") == ["secret"]
