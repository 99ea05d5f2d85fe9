"""`fleetward doctor`: what stands between here and a control plane, and what to mend."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.failure import Failure

SIGNS = {"ok": "ok  ", "warning": "WARN", "failed": "FAIL", "skipped": "skip"}


def doctor(
    endpoint: Annotated[
        str, typer.Option(help="Address of the control plane. [default: that of the AWS profile]")
    ] = "",
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust (PEM). [default: AWS_CA_BUNDLE]")] = None,
    state: Annotated[
        Path | None, typer.Option(help="State folder of Fleetward's agent: look as that node, with its keys and CA.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Longest wait for one answer, seconds.", min=0.1, max=300)] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check DNS, TCP, TLS, clock, proxy, WebSocket, sizes, credentials and names from where it stands."""
    from fleetward.cli.doctor import checks
    from fleetward.cli.doctor.road import Road

    if state is not None:
        _stand_in(state, endpoint)
    session = _session()
    address = (endpoint or _configured(session)).rstrip("/")
    trusted = ca or (state / "ca.pem" if state is not None else None) or _bundle(session)
    try:
        road = Road.to(address, str(trusted) if trusted else "", timeout)
    except ValueError as fault:
        raise Failure(str(fault), 2) from fault
    region = session.get_config_variable("region") or "us-east-1"
    found = []
    for finding in checks.examine(road, session.get_credentials, str(region)):
        found.append(finding)
        if not as_json:
            print(f"{SIGNS[finding.status]}  {finding.check:12} {finding.said}", flush=True)
            if finding.mend:
                print(f"{'':20}{finding.mend}", flush=True)
    healthy = all(finding.status != "failed" for finding in found)
    if as_json:
        print(json.dumps({"endpoint": address, "healthy": healthy, "checks": [each.members() for each in found]}))
    if not healthy:
        raise typer.Exit(1)


def _stand_in(state: Path, endpoint: str) -> None:
    """Be the node of this folder for what follows: the agent keeps its keys as AWS programs read them."""
    file = state.absolute() / "credentials"
    if not file.is_file():
        raise Failure(f"{file} is not there: has the agent of this folder run?")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_CONFIG_FILE": os.devnull}
    if endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint


def _session() -> Any:
    import botocore.session

    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")  # keys of a machine in AWS are no keys here
    return botocore.session.Session()


def _configured(session: Any) -> str:
    from botocore.exceptions import BotoCoreError

    try:
        client = session.create_client("ssm", region_name=session.get_config_variable("region") or "us-east-1")
    except BotoCoreError as fault:
        raise Failure(f"{fault} Say --endpoint https://HOST:PORT.", 2) from fault
    url: str = client.meta.endpoint_url
    if ".amazonaws.com" in url:
        raise Failure("no control plane is named: say --endpoint https://HOST:PORT, or set AWS_ENDPOINT_URL", 2)
    return url


def _bundle(session: Any) -> str:
    named = session.get_config_variable("ca_bundle")
    return str(named) if named else os.environ.get("SSL_CERT_FILE", "")
