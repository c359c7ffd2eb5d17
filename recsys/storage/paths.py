"""Paths and URIs: the file system behind each (pyarrow.fs), and what an object store's errors mean to a user."""

from __future__ import annotations

import functools
import os
import re
from typing import Final

import pyarrow as pa
from pyarrow import fs

from recsys.errors import ConfigError, RecsysError, RetryError, shortened

AGAIN: Final = "nothing was lost, run the same command again"
_OPTIONS = re.compile(r"\?\w+=")
_STORE = re.compile(r"AWS Error|google::cloud::Status|Azure Error|DefaultAzureCredential")
_REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|INVALID_SIGNATURE|SIGNATURE_DOES_NOT_MATCH|"
    r"MISSING_AUTHENTICATION|EXPIRED_TOKEN|UNRECOGNIZED_CLIENT|PERMISSION_DENIED|UNAUTHENTICATED|bucket does not exist|"
    r"Authorization|Authentication|ContainerNotFound"
)


def join(base: str, *parts: str) -> str:
    """`base/part/…`, for a path or a URI."""
    return "/".join([base.rstrip("/") or "/", *parts])


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI (s3://, gs://, abfs://, file://) and the path on it.

    Raises:
        ConfigError: the scheme is unknown, or `check` refuses the URI.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(uri)
    check(uri)
    if uri.startswith("file://"):
        return _connect(uri)
    store, path = divide(uri)
    system, root = _store(store)
    return system, f"{root.rstrip('/')}/{path}".rstrip("/")


def is_within(uri: str, folder: str) -> bool:
    """Whether a path or URI is a folder or below it, also by way of links."""
    (system, path), (other, above) = resolve(uri), resolve(folder)
    if is_local(uri):
        path, above = os.path.realpath(path), os.path.realpath(above)
    return bool(system.equals(other)) and f"{path}/".startswith(f"{above}/")


def check(uri: str) -> None:
    """Refuses what does not belong in a URI, since it would show up in run.json and in messages.

    Raises:
        ConfigError: the URI contains a password, a key or an option; the message does not repeat it.
    """
    scheme, _, rest = uri.partition("://")
    bucket = rest.partition("/")[0]
    if ":" in bucket.rpartition("@")[0] or (scheme not in ("abfs", "abfss") and re.search("[:@]", bucket)):
        raise ConfigError(f"a {scheme}:// URI contains a key or password; remove it, see docs/object-stores.md")
    if rest and _OPTIONS.search(rest):
        raise ConfigError(
            f"a {scheme}:// URI contains options (?name=value), which are not supported; set AWS_ENDPOINT_URL or another "
            "variable instead, see docs/object-stores.md"
        )


def at(uri: str, path: str) -> str:
    """The path or URI of another path, as returned by `resolve`, on the file system of `uri`."""
    if is_local(uri):
        return path
    store = divide(uri)[0]
    return f"{store}/{path[len(_store(store)[1].rstrip('/')) + 1 :]}"


def failure(words: str) -> RecsysError | None:
    """The error for a message from an object store; None if it is not from one.

    A missing bucket and refused credentials are configuration errors: a retry would fail the same way. The rest may pass.
    """
    if not _STORE.search(words):
        return None
    return refused(words) if _REFUSED.search(words) else unreachable(words)


def refused(words: str) -> ConfigError:
    """The error for a missing bucket or refused credentials."""
    return ConfigError(f"the object store refused: {shortened(words)}; check bucket, credentials and permissions")


def unreachable(words: str) -> RetryError:
    """The error for an object store that fails for now."""
    return RetryError(f"the object store failed: {shortened(words)}; {AGAIN}")


def is_local(uri: str) -> bool:
    """Whether the path is on this machine's file system."""
    return isinstance(resolve(uri)[0], fs.LocalFileSystem)


def divide(uri: str) -> tuple[str, str]:
    """`s3://bucket` and the path in it, taken literally: names may contain `?`, `%` and spaces."""
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}", path


@functools.cache
def _store(uri: str) -> tuple[fs.FileSystem, str]:
    """One client per bucket: it keeps its connections, and looks up region and credentials once."""
    return _connect(uri)


def _connect(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError) as error:
        known = "use a path, s3://, gs:// or abfs://"
        raise failure(str(error)) or ConfigError(f"storage {uri} cannot be used: {error}; {known}") from None
    return found
