"""`python -m fleetward.agent.sessions`: the process of one session; the agent starts it and tells it what to do."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from fleetward.agent import platforms
from fleetward.agent.sessions import nursery
from fleetward.agent.sessions.link import Link
from fleetward.agent.sessions.runner import run


def main(arguments: list[str]) -> None:
    """Be the process of one session, or the nursery of many."""
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("picows").setLevel(logging.WARNING)
    _heed_signals()
    if arguments == [nursery.ARGUMENT]:
        _load()
        nursery.serve(session)
    else:
        session()


def session() -> None:
    """Run one session; never returns: whatever thread still waits for something is not waited for."""
    write_end = os.dup(1)
    os.dup2(2, 1)  # what anything here prints is no message to the agent
    # Not uvloop: picows is fastest over asyncio's own loop, where its connections find the aiofastnet that it brings.
    try:
        with asyncio.Runner() as runner:
            runner.run(_serve(write_end))
            os._exit(0)
    finally:
        os._exit(1)


def _load() -> None:
    """What sessions load once they need it."""
    from fleetward.agent.sessions import sockets

    sockets.load()
    if sys.platform != "win32":
        from fleetward.agent.platforms import posix_accounts, posix_terminal  # noqa: F401


async def _serve(write_end: int) -> None:
    link = Link(0, write_end)
    link.begin()
    link.announce(os.getpid())
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, link.closed.set)
    try:
        link.end(await run(link, platforms.current()))
    except EOFError:
        pass  # the agent went before it said what to do
    except Exception:
        logging.getLogger("fleetward.session").exception("the session broke")
        link.end({"status": "Failed", "output": "The session broke; the agent's log says how."})


def _heed_signals() -> None:
    """What an agent in the background ignores, its sessions' programs would too: Ctrl-C for one."""
    own = {getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)}  # Python's, not inherited
    for number in signal.valid_signals() - own:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    main(sys.argv[1:])
