"""Downloads over HTTP: resumed where they broke off, checked by MD5, kept in a cache folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import recsys
from recsys.config import Config
from recsys.errors import ConfigError, DataError, RetryError

Progress = Callable[[str], None]
ATTEMPTS = 5
"""Failures in a row, with next to nothing received, after which a download is given up."""
_BLOCK = 1 << 18
_GAIN = 1 << 20
_TIMEOUT = 30.0
_INTERVAL = 2.0
_TRANSIENT_CODES = (408, 425, 429, 500, 502, 503, 504)
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
ADVICE = "or download it by other means and name the copy with --dataset-path"


def cache_folder(config: Config) -> str:
    """The folder for downloads, made if need be: `source.cache_dir`, else $XDG_CACHE_HOME/recsys, else ~/.cache/recsys, else
    one in the system's temporary folder.

    Raises:
        ConfigError: `source.cache_dir` cannot be written.
    """
    if config.source.cache_dir is not None:
        if not _writable(config.source.cache_dir):
            raise ConfigError(f"source.cache_dir {config.source.cache_dir} cannot be written; choose another folder")
        return config.source.cache_dir
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(base, "recsys")
    if os.path.isabs(folder) and _writable(folder):
        return folder
    folder = os.path.join(tempfile.gettempdir(), f"recsys-{os.getuid()}")
    if not _writable(folder):
        raise ConfigError(f"neither {base} nor {folder} can be written; name a folder with source.cache_dir")
    return folder


def download(url: str, target: str, md5: str, progress: Progress, wait: float = 1.0) -> str:
    """Brings `url` to the file `target`, unless it is there already, and returns `target`.

    What was received of a broken download stays beside it as `<target>.part`, also for the next run, and is continued.

    Args:
        md5: hexadecimal checksum that the file must have.
        wait: seconds before the second attempt; doubled for each further one.

    Raises:
        RetryError: the server cannot be reached, the connection broke again and again, or the disk is full.
        DataError: the server refuses, or the checksum differs.
        ConfigError: the URL is neither https nor http.
    """
    _check_scheme(url)
    with _locked(target):
        if os.path.exists(target):
            if md5_of(target) == md5:
                return target
            progress(f"{target} has not the published checksum; downloading it again")
            os.unlink(target)
        part = target + ".part"
        resumed = os.path.exists(part)
        found = md5_of(part) if resumed else ""
        if found != md5:
            _receive(url, part, progress, wait)
            found = md5_of(part)
        if found != md5 and resumed:
            progress("the continued download has not the published checksum; starting again")
            os.unlink(part)
            _receive(url, part, progress, wait)
            found = md5_of(part)
        if found != md5:
            os.unlink(part)
            raise DataError(
                f"{url} has the MD5 {found}, expected {md5}; the file was deleted. Try again later, use another source.mirror, "
                + ADVICE
            )
        os.replace(part, target)
    return target


def published_md5(url: str, wait: float = 1.0) -> str:
    """The checksum that lies beside a file as `<url>.md5`, in hexadecimal.

    Raises:
        RetryError, DataError, ConfigError: as download; also where that file holds no checksum.
    """
    _check_scheme(url)
    for attempt in range(ATTEMPTS):
        try:
            with _open(url + ".md5", 0) as response:
                text = response.read(4096).decode("ascii", "replace")
            break
        except _NETWORK_ERRORS as error:
            _raise_if_final(url + ".md5", error, attempt)
            time.sleep(wait * 2**attempt)
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if found is None:
        raise DataError(f"{url}.md5 holds no MD5 checksum but {text[:60]!r}; use another source.mirror, {ADVICE}")
    return found.group().lower()


def md5_of(path: str) -> str:
    """MD5 of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _receive(url: str, part: str, progress: Progress, wait: float) -> None:
    """Receives the rest of `url` into `part`, in several attempts."""
    failures = 0
    while True:
        before = os.path.getsize(part) if os.path.exists(part) else 0
        try:
            _attempt(url, part, before, progress)
            return
        except _NETWORK_ERRORS as error:
            gained = (os.path.getsize(part) if os.path.exists(part) else 0) - before
            failures = 0 if gained >= _GAIN else failures + 1
            if isinstance(error, urllib.error.HTTPError) and error.code == 416 and before:
                os.unlink(part)  # longer than the file on the server: left by an older version of it
            else:
                _raise_if_final(url, error, failures - 1)
            progress(f"{url}: {_reason(error)}; trying again")
            time.sleep(wait * 2 ** max(failures - 1, 0))


def _attempt(url: str, part: str, start: int, progress: Progress) -> None:
    with _open(url, start) as response:
        start = start if response.status == 206 else 0  # a server without ranges sends the whole file again
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with _disk_errors(part), open(part, "ab" if start else "wb") as file:
            received, told = start, time.monotonic()
            while block := response.read(_BLOCK):
                file.write(block)
                received += len(block)
                if time.monotonic() - told >= _INTERVAL:
                    told = time.monotonic()
                    progress(_state(url, received, total))
    if total is not None and received < total:
        raise http.client.IncompleteRead(b"", total - received)
    progress(_state(url, received, total))


def _open(url: str, start: int) -> Any:
    headers = {"User-Agent": f"recsys/{recsys.__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)


def _raise_if_final(url: str, error: Exception, attempt: int) -> None:
    reason = _reason(error)
    if isinstance(error, urllib.error.HTTPError) and error.code not in _TRANSIENT_CODES:
        raise DataError(f"{url}: the server answers {reason}; check source.mirror, {ADVICE}") from None
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        raise RetryError(f"{url}: the server's certificate cannot be trusted ({reason}); try again later, {ADVICE}") from None
    if attempt + 1 >= ATTEMPTS:
        raise RetryError(f"{url} cannot be downloaded: {reason}; run the same command again to continue, {ADVICE}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection ended with {error.expected} bytes missing"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _state(url: str, received: int, total: int | None) -> str:
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    if total is None:
        return f"{name}: {received / 1e6:.1f} MB"
    return f"{name}: {received / 1e6:.1f} of {total / 1e6:.1f} MB ({100 * received // max(total, 1)} %)"


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in ("https", "http"):
        raise ConfigError(f"{url} cannot be downloaded: expected a URL that starts with https:// or http://")


@contextlib.contextmanager
def _disk_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, _NETWORK_ERRORS):
            raise
        raise RetryError(f"{path} cannot be written: {error}; free the space or choose another source.cache_dir") from None


@contextlib.contextmanager
def _locked(target: str) -> Iterator[None]:
    """Lets one process at a time work on a target."""
    with _disk_errors(target):
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        descriptor = os.open(target + ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RetryError(f"another process is downloading {target}; wait for it and run the same command again") from None
    finally:
        os.close(descriptor)


def _writable(folder: str) -> bool:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
