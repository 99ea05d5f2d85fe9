"""aws:downloadContent: bring a file to the node, by HTTP(S) or from a document of the control plane (AP 10.4).

The HTTP part runs in a child: the certificates of the world and the code of digests need not stay in our memory.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fleetward.agent.process import Ended, Ending, run_process
from fleetward.agent.scripts import judge
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import StepOutcome
from fleetward.protocol.status import StepStatus

LARGEST_BYTES = 16 * 1024**3
SILENCE_SECONDS = 60
_LATER = {
    "S3": "S3 sources are not available yet: use HTTP or SSMDocument",
    "GitHub": "GitHub sources are not supported: use HTTP with the address of the raw file or an archive",
    "Git": "Git sources are not supported: use HTTP, or git in a script",
}


class DownloadFault(Exception):
    """The content cannot be had; one sentence for the document's author."""


async def run(run: StepRun) -> StepOutcome:
    """Fetch what `sourceType` and `sourceInfo` name and put it at `destinationPath`."""
    source_type = run.inputs.get("sourceType")
    try:
        info = source_info(run.inputs.get("sourceInfo"))
        if source_type == "HTTP":
            return await _from_http(run, info)
        if source_type == "SSMDocument":
            return await _from_document(run, info)
        raise DownloadFault(_LATER.get(str(source_type), f"sourceType {source_type!r} is not supported"))
    except DownloadFault as fault:
        return run.fail(f"failed to download content: {fault}")


def source_info(value: Any) -> Mapping[str, Any]:
    """`sourceInfo`, which documents write as JSON text or as an object."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise DownloadFault("sourceInfo is not JSON") from None
    if not isinstance(value, Mapping):
        raise DownloadFault("sourceInfo must be an object")
    return value


def destination(run: StepRun, file_name: str) -> Path:
    """Where the content goes: `destinationPath`, below the downloads unless absolute; a folder gets `file_name`."""
    asked = run.inputs.get("destinationPath") or ""
    if not isinstance(asked, str):
        raise DownloadFault("destinationPath must be text")
    path = run.downloads / asked
    if not Path(asked).is_absolute() and not path.resolve().is_relative_to(run.downloads.resolve()):
        raise DownloadFault("a relative destinationPath must stay below the downloads")
    if not asked or asked.endswith(("/", os.sep)) or path.is_dir():
        path = path / file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


async def _from_http(run: StepRun, info: Mapping[str, Any]) -> StepOutcome:
    url = info.get("url")
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadFault("sourceInfo needs an http(s) url")
    insecure = info.get("allowInsecureDownload") in (True, "true", "True")
    if parts.scheme == "http" and not insecure:
        raise DownloadFault("plain http needs allowInsecureDownload: true")
    if info.get("authMethod", "None") not in ("None", "Basic", "Digest"):
        raise DownloadFault("authMethod must be None, Basic or Digest")
    path = destination(run, unquote(parts.path.rpartition("/")[2]) or "index.html")
    asked = {**info, "allowInsecureDownload": insecure, "path": str(path), "ca": str(run.node.state.ca)}
    ended = await run_process(
        [sys.executable, "-P", "-m", __name__],
        folder=None,
        environment=os.environ,
        on_output=run.output.stdout.write,
        on_errors=run.output.stderr.write,
        seconds=run.step.timeout_seconds,
        stop=run.stop,
        given=json.dumps(asked).encode(),
    )
    if ended == Ended(Ending.EXITED, 1):
        return StepOutcome(StepStatus.FAILED, 1)  # the child has said why
    return judge(run, ended)


async def _from_document(run: StepRun, info: Mapping[str, Any]) -> StepOutcome:
    from fleetward.agent.plugins.run_document import DocumentNotRead, fetch_document

    name = info.get("name")
    if not isinstance(name, str) or not name:
        raise DownloadFault("sourceInfo needs the name of a document")
    try:
        document = await fetch_document(run, name, as_json=False)
    except DocumentNotRead as fault:
        raise DownloadFault(str(fault)) from fault
    ending = str(document.get("DocumentFormat", "JSON")).lower()
    path = destination(run, f"{str(document.get('Name') or name).rpartition('/')[2].partition(':')[0]}.{ending}")
    path.write_text(str(document["Content"]), encoding="utf-8")
    run.output.stdout.write(f"Content downloaded to {path}\n".encode())
    return StepOutcome(StepStatus.SUCCESS, 0)


# --- the child ------------------------------------------------------------------------------------------------------


def download(asked: Mapping[str, Any]) -> None:
    """Fetch `url` into `path`, whole or not at all; DownloadFault or OSError says why not."""
    import ssl
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        """Never from https to http, unless insecure downloads are allowed."""

        def redirect_request(
            self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> urllib.request.Request | None:
            if urlsplit(newurl).scheme != "https" and not asked["allowInsecureDownload"]:
                raise DownloadFault(f"{req.full_url} leads to {newurl}, which is not https")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    handlers: list[urllib.request.BaseHandler] = [Redirects()]
    trust = ssl.create_default_context()
    if Path(asked["ca"]).exists():
        trust.load_verify_locations(asked["ca"])
    handlers.append(urllib.request.HTTPSHandler(context=trust))
    if asked.get("authMethod", "None") != "None":
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, asked["url"], asked.get("username", ""), asked.get("password", ""))
        kind = (
            urllib.request.HTTPBasicAuthHandler
            if asked["authMethod"] == "Basic"
            else urllib.request.HTTPDigestAuthHandler
        )
        handlers.append(kind(passwords))
    with urllib.request.build_opener(*handlers).open(asked["url"], timeout=SILENCE_SECONDS) as answer:
        _keep(answer, Path(asked["path"]))


def _keep(answer: Any, path: Path) -> None:
    temporary = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
    received = 0
    try:
        with temporary.open("xb") as file:
            while piece := answer.read(256 * 1024):
                received += len(piece)
                if received > LARGEST_BYTES:
                    raise DownloadFault(f"more than {LARGEST_BYTES} bytes")
                file.write(piece)
            announced = answer.headers.get("Content-Length")
            if announced and announced.isdigit() and int(announced) != received:
                raise DownloadFault(f"{received} of {announced} bytes arrived")
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> int:
    """The child: 0 when the file is there, 1 with the reason on standard error when it is not."""
    asked = json.load(sys.stdin)
    try:
        download(asked)
    except (DownloadFault, OSError, ValueError) as error:
        sys.stderr.write(f"failed to download content: {error}")
        return 1
    sys.stdout.write(f"Content downloaded to {asked['path']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
