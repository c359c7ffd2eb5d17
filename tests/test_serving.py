"""The commands of docs/serving.md, as they stand there, against real servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.contract import schema
from tests import servers
from tests.command import ROOT

USERS = ["1", "o'Neil", 'with "quotes", and commas', "ünï\\code", ""]
ITEMS = [f"item {number}" for number in range(3)]


def command(heading: str) -> str:
    """The shell block under a heading of the page."""
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {heading}\n.*?^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(found)


def load(heading: str, folder: Path, **variables: str) -> None:
    """Runs it as a user would who stands beside out/."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    words = ["bash", "-o", "pipefail", "-ec", command(heading)]
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def publish(folder: Path, run_id: str, users: list[str], item_type: Any = None) -> list[tuple[str, str, int]]:
    """Writes lists of three items in two files, and what follows them; returns user, item and rank."""
    lists = folder / "out" / "runs" / run_id / "recommendations"
    lists.mkdir(parents=True)
    rows = [(user, item, rank) for user in users for rank, item in enumerate(ITEMS, start=1)]
    half = 4  # in the middle of a user
    for number, part in enumerate((rows[:half], rows[half:])):
        columns = [*map(list, zip(*part, strict=True)), [0.5] * len(part)]
        table = pa.table(columns, schema=schema.recommendations(pa.string(), pa.string()))
        pq.write_table(table, lists / f"part-{number:05}.parquet")
    (lists / "_SUCCESS").touch()
    latest = {"run_id": run_id, "recommendations": f"runs/{run_id}/recommendations"}
    (folder / "out" / "latest.json").write_text(json.dumps(latest), encoding="utf-8")
    return rows


def twice(folder: Path, load_it: Callable[[], None], read: Callable[[], list[Any]]) -> None:
    """Lists, and those of the next night, which has fewer users."""
    rows = publish(folder, "first", USERS)
    load_it()
    assert read() == sorted(rows)
    rows = publish(folder, "second", USERS[1:])
    load_it()
    assert read() == sorted(rows)


def test_duckdb(tmp_path: Path) -> None:
    def read() -> list[Any]:
        with duckdb.connect(str(tmp_path / "recommendations.duckdb"), read_only=True) as database:
            return sorted(database.sql("SELECT user_id, item_id, rank FROM recommendations").fetchall())

    twice(tmp_path, lambda: load("DuckDB", tmp_path), read)


def test_postgresql(tmp_path: Path, postgresql: dict[str, str]) -> None:
    def read() -> list[Any]:
        asked = "SELECT json_build_array(user_id, item_id, rank) FROM recommendations"
        words = ["psql", "--tuples-only", "--no-align", "--command", asked]
        done = subprocess.run(words, env={**os.environ, **postgresql}, capture_output=True, text=True, check=True)
        return sorted(tuple(json.loads(line)) for line in done.stdout.splitlines())

    twice(tmp_path, lambda: load("PostgreSQL", tmp_path, **postgresql), read)


def test_redis(tmp_path: Path, redis: str) -> None:
    rows = publish(tmp_path, "first", USERS)
    load("Redis", tmp_path, REDIS_URL=redis)
    for user in USERS:
        words = ["redis-cli", "-u", redis, "--raw"]
        done = subprocess.run([*words, "GET", f"recommendations:{user}"], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [item for owner, item, _ in rows if owner == user]
        left = subprocess.run([*words, "TTL", f"recommendations:{user}"], capture_output=True, text=True, check=True)
        assert 172_000 < int(left.stdout) <= 172_800


@pytest.fixture
def postgresql(place: Path) -> Iterator[dict[str, str]]:
    """The variables with which psql finds a PostgreSQL server of its own."""
    initdb, postgres = (servers.program(name, "/usr/lib/postgresql/*/bin") for name in ("initdb", "postgres"))
    servers.program("psql")
    words = [initdb, "-D", place / "data", "-U", "recsys", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run(words, check=True, capture_output=True, cwd=place, **servers.user())
    port = servers.free_port()
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", place]
    variables = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "recsys", "PGDATABASE": "postgres"}
    with servers.running([postgres, "-D", place / "data", "-p", str(port), *options], place):
        servers.until(lambda: servers.answers(["psql", "-c", "SELECT 1"], variables))
        yield variables


@pytest.fixture
def redis(place: Path) -> Iterator[str]:
    """The address of a Redis server of its own."""
    server, _ = servers.program("redis-server"), servers.program("redis-cli")
    port = servers.free_port()
    address = f"redis://127.0.0.1:{port}"
    with servers.running([server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", place], place):
        servers.until(lambda: servers.answers(["redis-cli", "-u", address, "PING"], {}))
        yield address
