"""aws:downloadContent: bring files to the node, by HTTP(S), from S3 or from a document of the control plane (AP 10.4).

The fetching runs in a child: the certificates of the world and the code of digests need not stay in our memory.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fleetward.agent import parameters, s3
from fleetward.agent.client import ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.process import Ended, Ending, run_process
from fleetward.agent.scripts import judge
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import StepOutcome, resolve_references, secure_references
from fleetward.protocol.status import StepStatus

LARGEST_BYTES = 16 * 1024**3
SILENCE_SECONDS = 60
MOST_OBJECTS = 10_000
_LATER = {
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
        if source_type == "S3":
            return await _from_s3(run, info)
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
    path = _destination_path(run)
    if not asked or asked.endswith(("/", os.sep)) or path.is_dir():
        path = path / file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _destination_path(run: StepRun) -> Path:
    asked = run.inputs.get("destinationPath") or ""
    if not isinstance(asked, str):
        raise DownloadFault("destinationPath must be text")
    path = run.downloads / asked
    if not Path(asked).is_absolute() and not path.resolve().is_relative_to(run.downloads.resolve()):
        raise DownloadFault("a relative destinationPath must stay below the downloads")
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
    return await _fetch(
        run, [{**info, **await _secrets(run, info), "allowInsecureDownload": insecure, "path": str(path)}]
    )


async def _secrets(run: StepRun, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """User and password with every `{{ssm-secure:…}}` in them resolved, for the child alone."""
    given = {member: info[member] for member in ("username", "password") if member in info}
    references = secure_references(given)
    if not references:
        return given
    try:
        resolved = await parameters.fetch(run.node.client, references, secure=True)
    except parameters.ParametersNotRead as fault:
        raise DownloadFault(str(fault)) from fault
    found: Mapping[str, Any] = resolve_references(given, resolved, secure=True)
    return found


async def _from_s3(run: StepRun, info: Mapping[str, Any]) -> StepOutcome:
    client = run.node.client
    try:
        location = s3.locate(info.get("path"), client.endpoint.url.host)
        wanted = await _objects(run, location)
        files = [
            {"url": await client.presigned(each.path), "shown": f"s3://{each.bucket}/{each.key}", "path": str(path)}
            for each, path in wanted
        ]
    except s3.BadLocation as fault:
        raise DownloadFault(f"sourceInfo needs the path of an S3 object: {fault}") from fault
    except (ServiceFault, HttpFault) as fault:
        raise DownloadFault(f"{info.get('path')}: {fault}") from fault
    insecure = client.endpoint.url.scheme == "http"
    return await _fetch(run, [{**file, "allowInsecureDownload": insecure} for file in files])


async def _objects(run: StepRun, location: s3.Location) -> list[tuple[s3.Location, Path]]:
    """The objects that an address stands for, with the files they become; those of a folder keep their places."""
    if not location.is_folder:
        return [(location, destination(run, location.key.rpartition("/")[2]))]
    keys: list[str] = []
    token = ""
    while len(keys) <= MOST_OBJECTS:
        page = await run.node.client.list_objects(location.bucket, location.key, token)
        found, token = s3.read_listing(page)
        keys += [key for key in found if not key.endswith("/")]
        if not token:
            break
    if not keys:
        raise DownloadFault(f"there are no objects under {location.key!r} in {location.bucket}")
    if len(keys) > MOST_OBJECTS:
        raise DownloadFault(f"more than {MOST_OBJECTS} objects")
    folder = _destination_path(run)
    return [(s3.Location(location.bucket, key), _below(folder, key[len(location.key) :])) for key in keys]


def _below(folder: Path, name: str) -> Path:
    path = folder / name
    if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise DownloadFault(f"the key {name!r} leads out of the destination")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


async def _fetch(run: StepRun, files: Sequence[Mapping[str, Any]]) -> StepOutcome:
    """Have a child fetch each file."""
    asked = {"ca": str(run.node.state.ca), "files": files}
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


def download(asked: Mapping[str, Any], ca: str) -> None:
    """Fetch `url` into `path`, whole or not at all; DownloadFault or OSError says why not."""
    import ssl
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        """Never from https to http, unless insecure downloads are allowed."""

        def redirect_request(
            self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> urllib.request.Request | None:
            if urlsplit(newurl).scheme != "https" and not asked["allowInsecureDownload"]:
                asked_for = asked.get("shown", req.full_url)  # never a presigned address: this text is kept as output
                raise DownloadFault(f"{asked_for} leads to {urlsplit(newurl).hostname}, which is not reached by https")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    handlers: list[urllib.request.BaseHandler] = [Redirects()]
    trust = ssl.create_default_context()
    if Path(ca).exists():
        trust.load_verify_locations(ca)
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
    """The child: 0 when the files are there, 1 with the reason on standard error when they are not."""
    asked = json.load(sys.stdin)
    for file in asked["files"]:
        try:
            download(file, asked["ca"])
        except (DownloadFault, OSError, ValueError) as error:
            shown = f"{file['shown']}: " if "shown" in file else ""
            sys.stderr.write(f"failed to download content: {shown}{error}")
            return 1
        sys.stdout.write(f"Content downloaded to {file['path']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
