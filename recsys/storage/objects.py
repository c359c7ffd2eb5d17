"""Small objects of an object store (obstore): read with retries, written on conditions, the basis of locks and run.json there.

S3, Google Cloud Storage and Azure can write an object on condition that it does not exist yet (`If-None-Match: *`) or is still
the version that was read (`If-Match: ETag`; on Google its generation). pyarrow.fs, which moves the bulk of the data, cannot.
This module is the only one that knows obstore: it maps URIs and environment to a client, and the client's exceptions to ours.
"""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recsys.errors import ConfigError
from recsys.storage import paths

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_NO_BUCKET: Final = re.compile("NoSuchBucket|ContainerNotFound")
_CLIENT: Final = {"timeout": "20s", "connect_timeout": "5s"}
_RETRY: Final = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
}


class ChangedError(Exception):
    """The object is not the version that the write was conditional on; whoever catches this decides what it means."""


@dataclasses.dataclass(frozen=True)
class Version:
    """What identifies one state of an object: its ETag and, on Google, its generation."""

    e_tag: str | None
    generation: str | None


def read(uri: str) -> tuple[bytes, Version] | None:
    """Content and version of a small object; None if there is none.

    Raises:
        ConfigError: the bucket does not exist, or the store refuses the credentials.
        RetryError: the store cannot be reached.
    """
    import obstore

    store, key = locate(uri)
    with _translated():
        try:
            found = obstore.get(store, key)
            return bytes(found.bytes()), Version(found.meta["e_tag"], found.meta["version"])
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise
            return None


def write(uri: str, content: bytes, expected: Version | None) -> Version:
    """Writes an object if it is still in the expected version, and returns the new one.

    The client repeats a request whose answer was lost. If the first one did succeed, the second fails its own condition; so
    when a condition fails, an object that already has this very content counts as written.

    Args:
        expected: the version to replace; None: there must be no object yet.

    Raises:
        ChangedError: the object is in another version.
        ConfigError, RetryError: see read.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    store, key = locate(uri)
    with _translated():
        try:
            done = obstore.put(store, key, content, mode="create" if expected is None else _update(expected))
            return Version(done["e_tag"], done["version"])
        except (AlreadyExistsError, PreconditionError):
            pass
    found = read(uri)
    if found is None or found[0] != content:
        raise ChangedError(uri)
    return found[1]


def delete(uri: str) -> None:
    """Deletes an object, whatever its version.

    Raises:
        ConfigError, RetryError: see read.
    """
    import obstore

    store, key = locate(uri)
    with _translated(), contextlib.suppress(FileNotFoundError):
        obstore.delete(store, key)


def _update(expected: Version) -> Any:
    named = {"e_tag": expected.e_tag, "version": expected.generation}
    return {name: value for name, value in named.items() if value is not None}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    from obstore.exceptions import BaseError, NotSupportedError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (FileNotFoundError, PermissionDeniedError, UnauthenticatedError) as error:
        raise paths.refused(_words(error)) from None
    except ValueError as error:
        raise ConfigError(f"the object store cannot be used: {_words(error)}; correct the URI or the environment") from None
    except (BaseError, OSError) as error:
        words = _words(error)
        if isinstance(error, NotSupportedError) or "NotImplemented" in words:
            raise ConfigError(f"the object store does not support conditional writes: {words}; use one that does") from None
        raise paths.unreachable(words) from None


def _words(error: Exception) -> str:
    """The message without the dump of the client's own structures that follows it."""
    return str(error).partition("Debug source:")[0]


def locate(uri: str) -> tuple[ObjectStore, str]:
    """The client for a URI's bucket and the key in it."""
    paths.check(uri)
    bucket, key = paths.divide(uri)
    return _client(bucket), key


@functools.cache
def _client(bucket: str) -> ObjectStore:
    """The client for `s3://bucket`, `gs://bucket` or `abfs://container@account…`, with what the environment says.

    obstore reads most of the environment itself, also the identities of Kubernetes and of cloud machines. Added here: what
    pyarrow.fs obeys and obstore does not, so that both reach the same store in the same way.
    """
    from obstore.store import from_url

    scheme, _, name = bucket.partition("://")
    known: dict[str, Any] = {}
    endpoint = None
    if scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = getattr(paths.resolve(bucket)[0], "region", None)
        # Deleting in bulk is a call that not every S3-compatible store has.
        known = {"endpoint": endpoint, "region": region, "disable_bulk_delete": True, **profile(os.environ)}
    elif scheme == "gs" and (emulator := os.environ.get("CLOUD_STORAGE_EMULATOR_ENDPOINT")):
        endpoint = emulator if "://" in emulator else f"http://{emulator}"
        known = {"base_url": endpoint, "skip_signature": True}
    config: Any = {key: value for key, value in known.items() if value}
    options: Any = {**_CLIENT, "allow_http": bool(endpoint and endpoint.startswith("http://"))}
    retry: Any = _RETRY
    with _translated():
        return from_url(f"{scheme}://{name}", config=config, client_options=options, retry_config=retry)


def profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Keys of the profile in ~/.aws/credentials, where the environment holds none: obstore does not read that file."""
    if environment.get("AWS_ACCESS_KEY_ID"):
        return {}
    file = configparser.ConfigParser(interpolation=None)
    path = environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    try:
        file.read(Path(path).expanduser(), encoding="utf-8")
        profile = file[environment.get("AWS_PROFILE") or "default"]
    except (KeyError, RuntimeError, OSError, configparser.Error):
        return {}
    names = {
        "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token",
    }
    return {names[key]: value for key, value in profile.items() if key in names}
