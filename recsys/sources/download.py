"""Downloads over HTTP into a cache folder: checked by MD5 (pooch), and resumed where they broke off, which pooch cannot do."""

from __future__ import annotations

import base64
import http.client
import logging
import os
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import platformdirs

import recsys
from recsys import storage
from recsys.config import Config
from recsys.errors import ConfigError, DataError, RetryError
from recsys.progress import Log

ATTEMPTS = 5
"""Consecutive failures, with next to nothing received, after which a download is given up."""
_BLOCK = 1 << 18
_GAIN = 1 << 20
_TIMEOUT = 30.0
_INTERVAL = 2.0
_TRANSIENT_CODES = (408, 425, 429, 500, 502, 503, 504)
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
ADVICE = "or download it by other means and pass the copy with --dataset-path"


def cache_folder(config: Config) -> str:
    """The folder for downloads, created if necessary.

    It is `source.cache_dir`, or the user's cache folder ($XDG_CACHE_HOME/recsys or ~/.cache/recsys on Linux), or, if that is
    not writable, one in the system's temporary folder.

    Raises:
        ConfigError: none of them is writable, or `source.cache_dir` is not.
    """
    folders = cache_folders(config)
    for folder in folders:
        if _writable(folder):
            return folder
    if config.source.cache_dir is not None:
        raise ConfigError(f"source.cache_dir {config.source.cache_dir} is not writable; choose another folder")
    raise ConfigError(f"neither {' nor '.join(folders)} is writable; choose a folder with source.cache_dir")


def cache_folders(config: Config) -> list[str]:
    """The folders that `cache_folder` tries, in that order; they may not exist."""
    if config.source.cache_dir is not None:
        return [config.source.cache_dir]
    users = platformdirs.user_cache_dir("recsys", appauthor=False)
    return [*([users] if os.path.isabs(users) else []), os.path.join(tempfile.gettempdir(), f"recsys-{os.getuid()}")]


def download(url: str, target: str, md5: str, log: Log, wait: float = 1.0) -> str:
    """Downloads `url` to the file `target`, unless it is there with the right checksum, and returns `target`.

    A partial download stays beside it as `<target>.part`, and is resumed by the next attempt or the next run.

    Args:
        md5: expected checksum, hexadecimal.
        wait: seconds before the second attempt, doubled for each further one.

    Raises:
        RetryError: the server cannot be reached, the connection keeps breaking, the disk is full, or another process is
            downloading the file.
        DataError: the server refuses, or the checksum differs.
        ConfigError: the URL is neither https nor http.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    _check_scheme(url)
    folder, name = os.path.split(os.path.abspath(target))
    part = target + ".part"

    def receive(_url: str, output: str, _pooch: object) -> None:
        if os.path.exists(target):
            log(f"{target} does not match the published checksum; downloading it again")
        _receive(url, part, log, wait)
        os.replace(part, output)

    with storage.lock(folder, name, advice="run the same command again later"):
        for fresh in (not os.path.exists(part), True):
            try:
                pooch.retrieve(url, f"md5:{md5}", fname=name, path=folder, downloader=receive)
                break
            except OSError as error:
                raise RetryError(
                    f"{target} cannot be written: {error}; free space or choose another source.cache_dir"
                ) from None
            except ValueError as error:  # how pooch reports a checksum that differs
                if fresh:
                    raise DataError(f"{url}: {error} Try again later, use another source.mirror, {ADVICE}") from None
                log("the resumed download does not match the published checksum; starting again")
    return target


def published_md5(url: str, wait: float = 1.0) -> str:
    """The checksum published beside a file as `<url>.md5`, in hexadecimal.

    Raises:
        RetryError, DataError, ConfigError: as download; also if that file contains no checksum.
    """
    _check_scheme(url)
    with storage.scratch("checksum") as folder:
        part = os.path.join(folder, "md5")
        _receive(url + ".md5", part, lambda line: None, wait)
        text = Path(part).read_text("ascii", "replace")
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if found is None:
        raise DataError(f"{url}.md5 contains no MD5 checksum but {text[:60]!r}; use another source.mirror, {ADVICE}")
    return found.group().lower()


def _receive(url: str, part: str, log: Log, wait: float) -> None:
    """Downloads the rest of `url` to `part`, in several attempts."""
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, part, before, log)
            return
        except _NETWORK_ERRORS as error:
            code = error.code if isinstance(error, urllib.error.HTTPError) else None
            if code == 416 and before:
                return  # nothing follows what is there; the checksum tells whether it is the file
            reason = _reason(error)
            if code is not None and code not in _TRANSIENT_CODES:
                raise DataError(f"{url}: the server answers {reason}; check source.mirror, {ADVICE}") from None
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                raise RetryError(
                    f"{url}: the server's certificate is not trusted ({reason}); try again later, {ADVICE}"
                ) from None
            failures = 0 if _size(part) - before >= _GAIN else failures + 1
            if failures >= ATTEMPTS:
                raise RetryError(
                    f"{url} cannot be downloaded: {reason}; run the same command again to resume, {ADVICE}"
                ) from None
            log(f"{url}: {reason}; trying again")
            time.sleep(wait * 2 ** max(failures - 1, 0))


def _attempt(url: str, part: str, start: int, log: Log) -> None:
    with urllib.request.urlopen(_request(url, start), timeout=_TIMEOUT) as response:
        start = start if response.status == 206 else 0  # a server without ranges sends the whole file again
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with open(part, "ab" if start else "wb") as file:
            received, told = start, time.monotonic()
            while block := response.read(_BLOCK):
                file.write(block)
                received += len(block)
                if time.monotonic() - told >= _INTERVAL:
                    told = time.monotonic()
                    log(_state(url, received, total))
    if total is not None and received < total:
        raise http.client.IncompleteRead(b"", total - received)
    log(_state(url, received, total))


def _request(url: str, start: int) -> urllib.request.Request:
    """A request for the content from `start` on. User and password of the URL, which urllib would take for the host's name,
    go into a header that is not sent along when the server redirects."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    headers = {"User-Agent": f"recsys/{recsys.__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers=headers)
    if login:
        code = base64.b64encode(unquote(login).encode()).decode("ascii")
        request.add_unredirected_header("Authorization", f"Basic {code}")
    return request


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection closed with {error.expected} bytes missing"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _state(url: str, received: int, total: int | None) -> str:
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    if total is None:
        return f"{name}: {received / 1e6:.1f} MB"
    return f"{name}: {received / 1e6:.1f} of {total / 1e6:.1f} MB ({100 * received // max(total, 1)} %)"


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in ("https", "http"):
        raise ConfigError(f"{url} cannot be downloaded: expected a URL that starts with https:// or http://")


def _writable(folder: str) -> bool:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
