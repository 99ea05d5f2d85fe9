"""Under which account a session runs, and that it really does."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from fleetward.agent.platforms.account import Account
from fleetward.agent.platforms.linux import Linux
from fleetward.agent.sessions.request import RunAs, SessionFault
from fleetward.agent.sessions.run_as import account_for
from tests.agent.sessions.far_end import SHELL, FarEnd, content, with_session

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")


class Rootless(Linux):
    """This machine, for an agent that is not root."""

    def may_change_account(self) -> bool:
        """No."""
        return False

    def default_account(self) -> Account | None:
        """Its own."""
        return None


@pytest.mark.parametrize("name", ["root", "no-such-user", "", "../root", "nobody\0", "x" * 5000])
def test_root_and_unknown_users_are_refused(name: str) -> None:
    with pytest.raises(SessionFault, match="run-as"):
        account_for(RunAs(is_enabled=True, name=name), Linux())


def test_an_agent_that_is_not_root_runs_sessions_as_itself() -> None:
    assert account_for(RunAs(), Rootless()) is None
    with pytest.raises(SessionFault, match="as root"):
        account_for(RunAs(is_elevated=True), Rootless())
    with pytest.raises(SessionFault, match="cannot become 'nobody'"):
        account_for(RunAs(is_enabled=True, name="nobody"), Rootless())


@as_root
def test_elevated_is_the_agents_own() -> None:
    assert account_for(RunAs(is_elevated=True, is_enabled=True, name="nobody"), Linux()) is None


@as_root
def test_a_refused_user_ends_the_session_with_the_reason(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        result = await far.ended()
        assert result["status"] == "Failed"
        assert "sessions as root are refused" in result["output"]

    document = {**SHELL, "inputs": {"runAsEnabled": True, "runAsDefaultUser": "nobody"}}
    far = with_session(tmp_path, content(document, RunAsUser="root"), work)
    assert far.connections == 0


@as_root
def test_the_shell_has_user_groups_and_home_of_its_account(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b'echo "$(id -un):$(id -gn):$(id -G):$HOME:$USER:$LOGNAME:$(stat -c %U $(tty))"; exit\n')
        await far.ended()

    document = {**SHELL, "inputs": {"runAsEnabled": True, "runAsDefaultUser": "nobody"}}
    far = with_session(tmp_path, content(document), work)
    entry = pwd.getpwnam("nobody")
    groups = " ".join(str(group) for group in os.getgrouplist("nobody", entry.pw_gid))
    assert f"nobody:nogroup:{groups}:{entry.pw_dir}:nobody:nobody:nobody\r\n".encode() in far.printed
    assert b"AWS_" not in far.printed
