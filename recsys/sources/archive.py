"""Zip archives of data sets: only the needed files are unpacked, once, all or nothing, and never outside their folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence

from recsys import storage
from recsys.errors import DataError
from recsys.progress import Log
from recsys.sources import files

_BLOCK = 1 << 20


def unpack(path: str, needed: Sequence[str], folder: str, name: str, most_bytes: int, log: Log) -> str:
    """Unpacks the needed files of a zip into `<folder>/<name>-<hash of the zip>` and returns that folder.

    The files may be in any one folder inside the zip. A zip that was unpacked before is not unpacked again.

    Args:
        needed: file names, such as `ratings.csv`.
        folder: cache folder.
        name: of the data set.
        most_bytes: that the needed files may have together, unpacked.
        log: receives progress.

    Raises:
        DataError: not a zip, damaged or encrypted, lacks a file, is too large inside, or has members outside its folder.
        ConfigError: this user may not write into the folder.
        RetryError: the disk is full or fails.
    """
    target = os.path.join(folder, f"{name}-{files.sha256(path)[:16]}")
    if storage.is_whole(target):
        return target
    log(f"unpacking {path}")
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(folder, exist_ok=True)
            storage.sweep_temporary(folder)  # a process that was killed may have left gigabytes
            temporary = stack.enter_context(storage.scratch(name, folder))
        except OSError as error:
            raise storage.of_disk(error, f"source.cache_dir {folder} cannot be written", folder) from None
        _extract(path, needed, temporary, most_bytes)
        storage.mark_success(temporary)
        os.chmod(temporary, 0o755)
        _move(temporary, target)
    return target


def find(names: Sequence[str], needed: Sequence[str], where: str) -> str:
    """The folder (`""` or ending in `/`) that contains all needed files, given file names with `/` between folders.

    Raises:
        DataError: a needed file is missing.
    """
    present = set(names)
    folders = sorted({os.path.dirname(name) for name in names}, key=lambda folder: (folder.count("/"), len(folder), folder))
    prefixes = [folder + "/" if folder else "" for folder in folders]
    missing = {prefix: [name for name in needed if prefix + name not in present] for prefix in prefixes or [""]}
    best = min(missing, key=lambda prefix: len(missing[prefix]))
    if missing[best]:
        found = ", ".join(sorted(present)[:20]) or "nothing"
        raise DataError(f"{where} lacks {', '.join(missing[best])}; expected {', '.join(needed)} in one folder, found {found}")
    return best


def sizes(path: str, needed: Sequence[str], most_bytes: int) -> dict[str, int]:
    """Bytes of the needed files of a zip, unpacked, by their names in it; writes nothing.

    Raises:
        DataError: see `unpack`, but for what only unpacking finds.
    """
    with _undamaged(path), zipfile.ZipFile(path) as archive:
        names = _checked(archive, path, needed, most_bytes)
        return {name: archive.getinfo(name).file_size for name in names}


def _extract(path: str, needed: Sequence[str], folder: str, most_bytes: int) -> None:
    try:
        with _undamaged(path), zipfile.ZipFile(path) as archive:
            names = _checked(archive, path, needed, most_bytes)
            for name in names:  # zipfile reads no more than the size that the archive declares
                with archive.open(name) as source, open(os.path.join(folder, os.path.basename(name)), "wb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
    except OSError as error:
        raise storage.of_disk(error, f"{path} cannot be unpacked into source.cache_dir {folder}", folder) from None


def _checked(archive: zipfile.ZipFile, path: str, needed: Sequence[str], most_bytes: int) -> list[str]:
    """The needed files by their names in the zip."""
    for member in archive.infolist():
        _check_member(path, member)
    prefix = find([m.filename for m in archive.infolist() if not m.is_dir()], needed, path)
    names = [prefix + name for name in needed]
    total = sum(archive.getinfo(name).file_size for name in names)
    if total > most_bytes:
        raise DataError(
            f"{path} is refused: unpacked, {', '.join(needed)} would have {total:,} bytes, expected at most "
            f"{most_bytes:,}; download it from a trusted source"
        )
    return names


@contextlib.contextmanager
def _undamaged(path: str) -> Iterator[None]:
    """Errors of zipfile in words."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{path} is not a complete zip file: {error}; it was truncated or damaged, download it again") from None
    except RuntimeError as error:  # raised by zipfile for an encrypted member
        raise DataError(f"{path} cannot be unpacked: {error}") from None


def _check_member(path: str, member: zipfile.ZipInfo) -> None:
    parts = member.filename.replace("\\", "/").split("/")
    absolute = parts[0] == "" or ":" in parts[0]
    link = stat.S_ISLNK(member.external_attr >> 16)
    if absolute or ".." in parts or link:
        reason = "is a symbolic link" if link else "points outside the archive's folder"
        raise DataError(f"{path} is refused: its member {member.filename!r} {reason}; download it from a trusted source")


def _move(temporary: str, target: str) -> None:
    try:
        os.rename(temporary, target)
    except OSError:
        if storage.is_whole(target):  # another process was faster
            return
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temporary, target)
