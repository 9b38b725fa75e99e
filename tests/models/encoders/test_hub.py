"""Checkpoints by hub name, from a stand-in for the hub on this machine: what is fetched, and what is cached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAME, COMMIT = "someone/tiny", "0123456789abcdef0123456789abcdef01234567"

FIND = """
import sys
from affcli.errors import AffcliError
from affcli.models.encoders import find_checkpoint
try:
    print(find_checkpoint.find(sys.argv[1], mini="audio").folder)
except AffcliError as error:
    sys.exit(str(error))
"""


class Hub(BaseHTTPRequestHandler):
    """Serves one repository's files as the hub does; `asked` lists what was downloaded."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{NAME}"):
            self.reply_json(self.repository())
        elif path.startswith(f"/{NAME}/resolve/") and (file := self.folder / path.rsplit("/", 1)[1]).is_file():
            self.reply_file(file)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if NAME not in path else "EntryNotFound")
            self.end_headers()

    def repository(self) -> object:
        files = sorted(path.name for path in self.folder.iterdir())
        if "/tree/" in self.path:
            return [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in files]
        siblings = [{"rfilename": name} for name in files]
        return {"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}

    def reply_json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def reply_file(self, file: Path) -> None:
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.asked.append(file.name)
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, tiny_wavlm: Path) -> Iterator[type[Hub]]:
    shutil.copytree(tiny_wavlm, tmp_path / "repository")
    (tmp_path / "repository" / "model.py").write_text("raise SystemExit('ran')")

    class ThisHub(Hub):
        folder, asked = tmp_path / "repository", []

    server = ThreadingHTTPServer(("127.0.0.1", 0), ThisHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ThisHub.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield ThisHub
    server.shutdown()


def find(name: str, hub: type[Hub], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    endpoint = hub.address  # type: ignore[attr-defined]
    variables |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), **environment}
    command = [sys.executable, "-c", FIND, name]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)


def test_a_hub_name_is_downloaded_once_and_only_what_is_needed(hub: type[Hub], tmp_path: Path) -> None:
    done = find(NAME, hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(hub.asked) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == (
        hub.folder / "model.safetensors"
    ).read_bytes()
    hub.asked.clear()
    again = find(NAME, hub, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert again.stdout == done.stdout
    assert find(NAME, hub, tmp_path, HF_HUB_OFFLINE="1").stdout == done.stdout
    assert hub.asked == []


def test_a_checkpoint_without_safetensors_gives_its_bin(hub: type[Hub], tmp_path: Path) -> None:
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    (hub.folder / "flax_model.msgpack").write_bytes(b"x")
    done = find(NAME, hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(hub.asked) == ["config.json", "preprocessor_config.json", "pytorch_model.bin"]


def test_a_repository_that_is_no_encoder_or_not_there_is_one_line(hub: type[Hub], tmp_path: Path) -> None:
    (hub.folder / "preprocessor_config.json").unlink()
    [line] = find(NAME, hub, tmp_path).stderr.splitlines()
    assert "has no preprocessor_config.json" in line
    [line] = find("someone/else", hub, tmp_path).stderr.splitlines()
    assert "neither a folder here nor a model on the hub" in line
    [line] = find(NAME, hub, tmp_path, HF_ENDPOINT="http://127.0.0.1:9").stderr.splitlines()
    assert "cannot be reached" in line
    assert "--model mini" in line
