"""What the errors of a disk, and of the files on it, mean to a user: what to do, and whether a retry can help."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from recsys.errors import ConfigError, DamagedError, RecsysError, RetryError, shortened
from recsys.storage.paths import AGAIN, failure, is_local, resolve

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_IMPOSSIBLE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
_PASSING: Final = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_DAMAGE: Final = (
    *(pa.ArrowException, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, RuntimeError),
)
"""What libraries raise for a file that is not what they have written."""


def of_disk(error: OSError, doing: str, place: str = "") -> RecsysError:
    """The error for a failed call of the operating system.

    Args:
        error: with its errno.
        doing: what could not be done, for the message.
        place: path of the file or folder, to tell what the disk lacks.

    Returns:
        RetryError where a retry may help, otherwise ConfigError.
    """
    number = error.errno or 0
    reason = os.strerror(number) if number else shortened(str(error))
    if number in _FULL:
        return RetryError(f"{doing}: {reason}{_inodes(number, place)}; free some, then run the same command again")
    if number in _REFUSED:
        return ConfigError(f"{doing}: {reason}; {permit()}")
    if number in _IMPOSSIBLE:
        return ConfigError(f"{doing}: {reason}; choose another path (--output)")
    return RetryError(f"{doing}: {reason}; {AGAIN}")


def permit() -> str:
    """What to do where this process may not write."""
    user = os.geteuid()
    return (
        f"this process runs as user {user}: give it the folder (chown -R {user} FOLDER; on Kubernetes fsGroup, or chown on the "
        "volume's server), or choose another one (--output)"
    )


def known(error: Exception) -> RecsysError | None:
    """The error for a disk or an object store that fails, wherever that occurred; None for anything else."""
    words = str(error)
    if isinstance(error, OSError) and error.errno in (*_FULL, *_REFUSED, *_PASSING):
        named = error.filename if isinstance(error.filename, str) else ""
        said = re.sub(r"^\[Errno \d+\] |\. Detail: .*$", "", shortened(words))  # Arrow's words already name the file
        return of_disk(error, f"{named} cannot be read or written" if named else said, named)
    if any(os.strerror(number) in words for number in (errno.ENOSPC, errno.EDQUOT)):
        return full(shortened(words))
    return failure(words)


def full(doing: str) -> RetryError:
    """The error for a full disk of which only a message tells."""
    temporary = tempfile.gettempdir()
    return RetryError(
        f"{doing}: a disk is full, or has no inodes left; free some in the output and in {temporary} (TMPDIR), or point TMPDIR "
        "to another disk, then run the same command again"
    )


@contextlib.contextmanager
def undamaged(uri: str) -> Iterator[None]:
    """While a file that recsys has written is read: whatever a library raises for a damaged one becomes one error.

    Raises:
        DamagedError: the file is missing, or not what was written.
        ConfigError: this user may not read it.
        RetryError: the storage fails.
    """
    try:
        yield
    except (RecsysError, MemoryError):
        raise
    except _DAMAGE as error:
        if isinstance(error, FileNotFoundError):
            what = "is missing"
        else:
            reason = shortened(f"{type(error).__name__}: {error}", 200)
            what = f"is damaged: it was cut off, or changed after it was written ({reason})"
        raise known(error) or DamagedError(f"{uri} {what}", uri) from error


def _inodes(number: int, place: str) -> str:
    """Names inodes if it is those that the disk of the place has used up: `df` shows free space then."""
    if number != errno.ENOSPC or (place and not is_local(place)):
        return ""
    path = resolve(place)[1] if place else tempfile.gettempdir()
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return " (its inodes are used up: too many files, see df -i)" if found.f_files and not found.f_favail else ""
