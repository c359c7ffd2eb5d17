"""Downloads against a real local server that breaks off, forbids ranges, or lies."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recsys import storage
from recsys.config import Config, Source
from recsys.errors import ConfigError, DataError, RetryError
from recsys.sources import download, movielens

CONTENT = bytes(range(256)) * 8192  # 2 MiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """Serves `files`; breaks off after `cut` bytes of a response, for the first `cuts` responses."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/data.zip": CONTENT}
        self.cut, self.cuts, self.ranges, self.status = 0, 0, True, 200
        self.requests: list[tuple[str, str | None]] = []
        self.logins: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        self.logins.append(handler.headers.get("Authorization"))
        if self.status != 200 or handler.path not in self.files:
            handler.send_error(self.status if self.status != 200 else 404)
            return
        body, status = self.files[handler.path], 200
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                handler.send_error(416)
                return
            body, status = body[start:], 206
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cuts > 0:
            self.cuts -= 1
            body = body[: self.cut]
        handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Callable[..., Path]:
    def run(name: str = "data.zip", md5: str = MD5) -> Path:
        target = str(tmp_path / "cache" / name)
        return Path(download.download(f"{server.url}/{name}", target, md5, lambda line: None, wait=0.001))

    return run


def test_a_file_is_downloaded_once_and_then_taken_from_the_cache(server: Server, get: Callable[..., Path]) -> None:
    assert get().read_bytes() == CONTENT
    assert get().read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_broken_connection_is_continued_where_it_broke(server: Server, get: Callable[..., Path]) -> None:
    server.cut, server.cuts = 300_000, 2
    assert get().read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=300000-", "bytes=600000-"]


def test_user_and_password_of_a_mirror_go_to_it_and_nowhere_else(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("://", "://me:p%40ss@")
    target = download.download(f"{url}/data.zip", str(tmp_path / "cache" / "data.zip"), MD5, lambda line: None)
    assert Path(target).read_bytes() == CONTENT
    assert server.logins == ["Basic " + base64.b64encode(b"me:p@ss").decode()]
    request = download._request("http://me:pw@host:80/x", 0)
    assert request.full_url == "http://host:80/x" and "Authorization" not in request.headers, "headers survive a redirect"


def test_a_server_without_ranges_sends_it_all_again(server: Server, get: Callable[..., Path]) -> None:
    server.cut, server.cuts, server.ranges = 300_000, 1, False
    assert get().read_bytes() == CONTENT


def test_what_was_received_is_kept_for_the_next_run(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    server.cut, server.cuts = 1000, 99
    with pytest.raises(RetryError, match="--dataset-path"):
        get()
    part = tmp_path / "cache" / "data.zip.part"
    assert part.stat().st_size == 1000 * download.ATTEMPTS
    server.cuts = 0
    assert get().read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={1000 * download.ATTEMPTS}-" and not part.exists()


@pytest.mark.parametrize("left", [b"other content", CONTENT + b"more", CONTENT])
def test_what_an_earlier_run_left_is_used_only_if_it_fits(get: Callable[..., Path], tmp_path: Path, left: bytes) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "data.zip.part").write_bytes(left)
    assert get().read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"expected md5:{'0' * 32} but got {MD5}"):
        get(md5="0" * 32)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock-data.zip"]


def test_a_damaged_copy_in_the_cache_is_replaced(get: Callable[..., Path]) -> None:
    get().write_bytes(b"damaged")
    assert get().read_bytes() == CONTENT


def test_refusals_are_not_tried_again_but_overload_is(server: Server, get: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="404"):
        get("absent.zip")
    assert len(server.requests) == 1
    server.status = 503
    with pytest.raises(RetryError, match="503"):
        get()
    assert len(server.requests) == 1 + download.ATTEMPTS


def test_no_server_and_no_http(tmp_path: Path, server: Server) -> None:
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(RetryError, match="cannot be downloaded"):
        download.download(f"{server.url}/data.zip", str(tmp_path / "x"), MD5, lambda line: None, wait=0.001)
    with pytest.raises(ConfigError, match="https://"):
        download.download("file:///etc/hostname", str(tmp_path / "x"), MD5, lambda line: None)


def test_a_data_set_that_changes_is_checked_against_the_sum_beside_it(server: Server, tmp_path: Path) -> None:
    server.files["/ml-latest-small.zip"] = CONTENT
    server.files["/ml-latest-small.zip.md5"] = f"MD5 (ml-latest-small.zip) = {MD5.upper()}\n".encode()
    config = Config(source=Source(cache_dir=str(tmp_path), mirror=server.url))
    path = movielens.fetch("ml-latest-small", config, lambda line: None, wait=0.001)
    assert Path(path).read_bytes() == CONTENT
    asked = len(server.requests)
    assert movielens.fetch("ml-latest-small", config, lambda line: None) == path and len(server.requests) == asked
    Path(path).unlink()
    server.files["/ml-latest-small.zip.md5"] = b"<html>not here</html>"
    with pytest.raises(DataError, match="contains no MD5"):
        movielens.fetch("ml-latest-small", config, lambda line: None, wait=0.001)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert download.cache_folder(Config()) == str(tmp_path / "xdg" / "recsys")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert download.cache_folder(Config()) == str(tmp_path / "home" / ".cache" / "recsys")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert Path(download.cache_folder(Config())).parent == tmp_path / "tmp"
    with pytest.raises(ConfigError, match="cache_dir"):
        download.cache_folder(Config(source=Source(cache_dir=str(tmp_path / "file" / "x"))))


@pytest.mark.data
def test_real_files_through_the_server(server: Server, data_dir: Path, tmp_path: Path) -> None:
    content = (data_dir / "ml-latest-small.zip").read_bytes()
    server.files |= {"/ml-latest-small.zip": content, "/ml-100k.zip": (data_dir / "ml-100k.zip").read_bytes()}
    server.files["/ml-latest-small.zip.md5"] = hashlib.md5(content).hexdigest().encode()
    server.cut, server.cuts = 100_000, 0
    config = Config(source=Source("ml-latest-small", cache_dir=str(tmp_path), mirror=server.url))
    interactions, users, items = movielens.open_data_set(config, lambda line: None)
    assert Path(interactions.path).is_file() and users is None and Path(items.path).is_file()
    with pytest.raises(DataError, match="expected md5:0e33842e24a9c977be4e0107933c0723"):  # a copy that was packed again
        movielens.fetch("ml-100k", config, lambda line: None, wait=0.001)


def test_a_disk_that_cannot_be_written_is_named(get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "cache" / "data.zip.part").mkdir(parents=True)
    with pytest.raises(RetryError, match=r"data\.zip cannot be written: .*source\.cache_dir"):
        get()


def test_one_process_at_a_time_downloads_a_file(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    with storage.lock(str(tmp_path / "cache"), "data.zip"), pytest.raises(RetryError, match="another process is working on"):
        get()
    assert not server.requests


def test_nothing_is_said_but_by_the_caller(get: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    get()
    assert capfd.readouterr() == ("", "")
