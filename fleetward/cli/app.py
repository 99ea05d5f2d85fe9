"""`fleetward`: the nouns and verbs, put together; each is a file of its own and loads what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from fleetward import __version__
from fleetward.cli import (
    access,
    agent,
    audit,
    ca,
    command,
    demo,
    doctor,
    init,
    join,
    keys,
    leave,
    node,
    region,
    server,
    session,
    signin,
    tunnel,
)
from fleetward.cli.login import commands as login

program = typer.Typer(
    name="fleetward",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A self-hosted Systems Manager for hybrid fleets.",
)
program.command("server")(server.server)
program.command("init")(init.init)
program.command("join")(join.join)
program.command("agent")(agent.agent)
program.command("leave")(leave.leave)
program.command("login")(login.login)
program.command("logout")(login.logout)
program.command("demo")(demo.demo)
program.command("doctor")(doctor.doctor)
program.command("halt")(command.halt)
program.command("resume")(command.resume)
program.command("tunnel")(tunnel.tunnel)
program.command("ssh-proxy")(tunnel.ssh_proxy)
program.add_typer(session.program, name="session")
program.add_typer(access.program, name="access")
program.add_typer(command.program, name="command")
program.add_typer(node.program, name="node")
program.add_typer(ca.program, name="ca")
program.add_typer(region.program, name="region")
program.add_typer(signin.program, name="signin")
program.add_typer(audit.program, name="audit")
program.add_typer(keys.program, name="keys")


@program.command("version")
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point of the `fleetward` program: 0 done, 1 failed, 2 wrong usage."""
    from fleetward.cli.failure import Failure

    try:
        program(standalone_mode=True)
    except Failure as failure:
        print(f"fleetward: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
