"""Linux: what it says of itself, and a unit that systemd can read."""

from __future__ import annotations

import os
from pathlib import Path

from fleetward.agent.platforms.linux import Linux, read_os_release, unit_text


def test_os_release_gives_name_and_version() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n# comment=x\nID=debian\n'
    facts = read_os_release(text)
    assert (facts["NAME"], facts["VERSION_ID"], facts["ID"]) == ("Debian GNU/Linux", "12", "debian")


def test_a_boot_and_a_process_have_marks_that_stay() -> None:
    linux = Linux()
    assert linux.boot_id() == linux.boot_id() != "/"
    assert linux.process_mark(os.getpid()) == linux.process_mark(os.getpid()) != ""
    assert linux.process_mark(2**22 + 1) == ""


def test_hardware_leaves_the_machine_as_hashes_only() -> None:
    for name, value in Linux().hardware().items():
        assert value == "" or len(value) == 64, name


def test_only_one_agent_gets_the_lock(tmp_path: Path) -> None:
    first = Linux().lock(tmp_path / "lock")
    assert first is not None
    assert Linux().lock(tmp_path / "lock") is None
    first.close()
    again = Linux().lock(tmp_path / "lock")
    assert again is not None
    again.close()


def test_words_of_the_unit_are_quoted_for_systemd() -> None:
    text = unit_text(["/usr/bin/python3", "--state", '/var/lib/my "node" 100%$'])
    assert 'ExecStart="/usr/bin/python3" "--state" "/var/lib/my \\"node\\" 100%%$$"' in text
    for line in ("KillMode=process", "Restart=always", "OOMPolicy=continue"):
        assert line in text
