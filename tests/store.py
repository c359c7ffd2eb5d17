"""An S3 server (moto) on a free port of this machine, with one bucket."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
from pyarrow import fs

BUCKET = "recsys-tests"
SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message>'
    b"<RequestId>656c76696e6727732072657175657374</RequestId><HostId>Uuag1LuByRx9e6j5Onimru9pO4ZVKnJ2Qz7/C1NPcfTWAtRPfTaOFg==</HostId>"
    b"</Error>"
)
SECRET = "not-to-be-seen-anywhere"


@dataclasses.dataclass(frozen=True)
class Store:
    """A running server.

    Attributes:
        url: where it listens.
        bucket: URI of its bucket.
        system: the server as an administrator sees it.
    """

    url: str
    bucket: str
    system: Any

    def put(self, path: str, content: bytes | str) -> str:
        """Writes an object; returns its URI."""
        with self.system.open_output_stream(f"{BUCKET}/{path}", compression=None) as stream:
            stream.write(content if isinstance(content, bytes) else content.encode())
        return f"{self.bucket}/{path}"

    def get(self, path: str) -> bytes:
        """The content of an object."""
        with self.system.open_input_stream(f"{BUCKET}/{path}", compression=None) as stream:
            content: bytes = stream.read()
        return content

    def names(self, folder: str) -> set[str]:
        """Paths of the objects below a folder, seen from there."""
        infos = self.system.get_file_info(fs.FileSelector(f"{BUCKET}/{folder}", recursive=True, allow_not_found=True))
        return {info.path.removeprefix(f"{BUCKET}/{folder}/") for info in infos if info.type == fs.FileType.File}

    @contextlib.contextmanager
    def asking_for_rights(self) -> Iterator[None]:
        """While the block runs, the server checks credentials, and does not know those of the environment."""
        self._ask_after("0")
        try:
            yield
        finally:
            self._ask_after("inf")

    @contextlib.contextmanager
    def refusing(self, every: int) -> Iterator[list[str]]:
        """While the block runs, every so many-th request is refused as S3 does under load; yields those, as method and path."""
        answer, lock, numbers = DomainDispatcherApplication.__call__, threading.Lock(), itertools.count(1)
        refused: list[str] = []

        def overloaded(application: Any, request: dict[str, Any], start_response: Any) -> Any:
            with lock:
                refuse = next(numbers) % every == 0
            if not refuse:
                return answer(application, request, start_response)
            refused.append(f"{request['REQUEST_METHOD']} {request['PATH_INFO']}")
            request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))])
            return [SLOW_DOWN]

        with mock.patch.object(DomainDispatcherApplication, "__call__", overloaded):
            yield refused

    def _ask_after(self, requests: str) -> None:
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", requests.encode(), plain, method="POST")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

    def download(self, folder: str, target: Path) -> Path:
        """A copy of a folder on this machine."""
        for name in self.names(folder):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(self.get(f"{folder}/{name}"))
        return target


@contextlib.contextmanager
def atomic_writes() -> Iterator[None]:
    """Makes a write and its condition one step, as they are in real stores; moto checks first and writes later, in threads."""
    put, one_at_a_time = S3Response.put_object, threading.Lock()

    def put_alone(response: S3Response) -> Any:
        with one_at_a_time:
            return put(response)

    with mock.patch.object(S3Response, "put_object", put_alone):
        yield


@contextlib.contextmanager
def running() -> Iterator[Store]:
    """Starts the server; the environment names it and holds credentials until the block ends."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with mock.patch.dict(os.environ, environment), atomic_writes():
        system = fs.S3FileSystem(endpoint_override=url, allow_bucket_creation=True)
        system.create_dir(BUCKET)
        yield Store(url, f"s3://{BUCKET}", system)
        server.stop()
