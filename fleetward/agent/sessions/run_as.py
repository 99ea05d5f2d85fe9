"""Whose session it is: the account of this machine that a session's program runs under (AP 12.3)."""

from __future__ import annotations

from fleetward.agent.platforms import Platform
from fleetward.agent.platforms.account import Account, AccountFault
from fleetward.agent.sessions.request import RunAs, SessionFault


def account_for(run_as: RunAs, platform: Platform) -> Account | None:
    """The account; None is the agent's own. SessionFault when there is none that may be used.

    Elevated is the agent's own, if that may do everything. Run-as names an account that must exist and be neither root
    nor of root's group. Else it is the default account. Ours: where the agent itself is not root, sessions run as the
    agent's user, for it cannot become another.
    """
    if platform.platform_type == "Windows":
        return None
    if run_as.is_elevated:
        if not platform.may_change_account():
            raise SessionFault("runAsElevated needs an agent that runs as root")
        return None
    if run_as.is_enabled:
        return _named(run_as.name, platform)
    try:
        account = platform.default_account()
    except AccountFault as fault:
        raise SessionFault(str(fault)) from fault
    return None if account is None else _checked(account)


def _named(name: str, platform: Platform) -> Account | None:
    if not name:
        raise SessionFault("run-as is enabled, but neither the caller's identity nor the preferences name a user")
    account = platform.find_account(name)
    if account is None:
        raise SessionFault(f"run-as: there is no user {name[:80]!r} on this node")
    _checked(account)
    if platform.may_change_account():
        return account
    if account.name != platform.session_environment(None)["USER"]:
        raise SessionFault(f"run-as: the agent does not run as root and cannot become {account.name!r}")
    return None


def _checked(account: Account) -> Account:
    if account.uid <= 0 or account.gid <= 0:
        raise SessionFault(f"run-as: {account.name!r} has an invalid uid or gid: sessions as root are refused")
    return account
