"""Real servers for tests, each with a folder and a port of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 30.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for a server, which runs as another user if this one is root."""
    with tempfile.TemporaryDirectory(prefix="recsys-server-") as folder:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        yield Path(folder)


def program(name: str, elsewhere: str = "") -> str:
    """Where a program is; skips the test if it is nowhere."""
    found = shutil.which(name) or next((str(path) for path in sorted(Path("/").glob(f"{elsewhere[1:]}/{name}"))), None)
    if found is None:
        pytest.skip(f"needs the program {name}: .ci/servers installs it")
    while os.path.islink(found) and os.path.basename(os.readlink(found)) == name:
        found = os.readlink(found)  # a link may lie in a folder that another user may not enter
    return found


def user() -> dict[str, Any]:
    """For subprocess: whom a server runs as; PostgreSQL refuses to run as root."""
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def running(words: list[Any], place: Path) -> Iterator[None]:
    """A server, until the end of the block; what it says stands in a file of the folder."""
    with open(place / "log", "wb") as log:
        process = subprocess.Popen([*map(str, words)], stdout=log, stderr=log, cwd=place, **user())
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        finally:
            process.kill()


def answers(words: list[str], variables: dict[str, str]) -> bool:
    """Whether a command succeeds."""
    return subprocess.run(words, env={**os.environ, **variables}, capture_output=True, check=False).returncode == 0


def until(ready: Callable[[], bool]) -> None:
    """Waits for a server."""
    end = time.monotonic() + SECONDS
    while not ready():
        assert time.monotonic() < end, "the server does not answer"
        time.sleep(0.05)
