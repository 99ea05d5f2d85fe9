"""aws:downloadContent: over real HTTP, with and without passwords, and never where it should not."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.machine import document, perform, script


class Files(http.server.BaseHTTPRequestHandler):
    """Serves /plain to all, /basic and /digest to those who know; /away leads elsewhere."""

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization", "")
        if self.path == "/basic" and authorization != "Basic " + base64.b64encode(b"user:word").decode():
            self._answer(401, b"", ("WWW-Authenticate", 'Basic realm="x"'))
        elif self.path == "/digest" and not self._digest_fits(authorization):
            self._answer(401, b"", ("WWW-Authenticate", 'Digest realm="x", nonce="n", qop="auth", algorithm=MD5'))
        elif self.path == "/missing":
            self._answer(404, b"")
        else:
            self._answer(200, b"echo content\n")

    def _digest_fits(self, authorization: str) -> bool:
        told = dict(re.findall(r'(\w+)="?([^",]*)"?', authorization))
        if "response" not in told:
            return False
        first = hashlib.md5(b"user:x:word").hexdigest()
        second = hashlib.md5(b"GET:/digest").hexdigest()
        text = f"{first}:n:{told['nc']}:{told['cnonce']}:auth:{second}"
        return bool(hashlib.md5(text.encode()).hexdigest() == told["response"])

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def download(info: Any, source_type: str = "HTTP", destination: str = "") -> dict[str, Any]:
    inputs = {"sourceType": source_type, "sourceInfo": info, "destinationPath": destination}
    return {"action": "aws:downloadContent", "name": "download", "inputs": inputs}


def over_http(url: str, **members: Any) -> str:
    return json.dumps({"url": url, "allowInsecureDownload": True, **members})


def test_what_was_downloaded_is_there_for_the_next_step(tmp_path: Path, files: str) -> None:
    doc = document(download(over_http(f"{files}/plain")), script("pwd; sh plain", name="run"))
    ended = perform(tmp_path, doc)
    assert ended["documentStatus"] == "Success", ended
    assert ended["steps"]["run"]["standardOutput"].endswith("/downloads\ncontent\n")


@pytest.mark.parametrize(("path", "method"), [("/basic", "Basic"), ("/digest", "Digest")])
def test_passwords_are_given_when_they_are_asked_for(tmp_path: Path, files: str, path: str, method: str) -> None:
    good = over_http(files + path, authMethod=method, username="user", password="word")
    target = tmp_path / "out" / "file"
    assert perform(tmp_path / "1", document(download(good, destination=str(target))))["documentStatus"] == "Success"
    assert target.read_bytes() == b"echo content\n"
    bad = over_http(files + path, authMethod=method, username="user", password="wrong")
    step = perform(tmp_path / "2", document(download(bad)))["steps"]["download"]
    assert step["status"] == "Failed"
    assert "401" in step["standardError"]


def test_a_destination_that_is_a_folder_gets_the_file_name(tmp_path: Path, files: str) -> None:
    perform(tmp_path / "state", document(download(over_http(f"{files}/plain"), destination=f"{tmp_path}/folder/")))
    assert (tmp_path / "folder" / "plain").exists()


@pytest.mark.parametrize(
    ("info", "source_type", "destination", "words"),
    [
        (json.dumps({"url": "http://127.0.0.1:9/x"}), "HTTP", "", "allowInsecureDownload"),
        (over_http("http://127.0.0.1:9/x"), "HTTP", "", "refused"),
        (over_http("file:///etc/passwd"), "HTTP", "", "http(s) url"),
        (over_http("http://127.0.0.1:9/x"), "HTTP", "../../../x", "below the downloads"),
        ("{", "HTTP", "", "not JSON"),
        ({"path": "x"}, "S3", "", "not the address of an S3 object"),
        ({"path": "https://s3.amazonaws.com/UPPER/key"}, "S3", "", "not the name of a bucket"),
        ({"owner": "x"}, "GitHub", "", "not supported"),
        ({"repository": "x"}, "Git", "", "not supported"),
        ({}, "SSMDocument", "", "name of a document"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_sentence(
    tmp_path: Path, info: Any, source_type: str, destination: str, words: str
) -> None:
    step = perform(tmp_path, document(download(info, source_type, destination)))["steps"]["download"]
    assert step["status"] == "Failed"
    assert words in step["standardError"]


def test_a_missing_file_leaves_nothing_behind(tmp_path: Path, files: str) -> None:
    step = perform(
        tmp_path / "state", document(download(over_http(f"{files}/missing"), destination=f"{tmp_path}/out/x"))
    )
    assert step["steps"]["download"]["status"] == "Failed"
    assert list((tmp_path / "out").iterdir()) == []
