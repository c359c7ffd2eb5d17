"""Files, folders and locks by path or URI, on a disk or in an object store; every write appears whole or not at all."""

from recsys.storage.arrays import open_arrays, write_arrays
from recsys.storage.changes import Snapshot, read_snapshot, replace_json, update_json
from recsys.storage.checked import checked_output, open_checked
from recsys.storage.checksums import Checksum, Summed, checksum
from recsys.storage.faults import full, known, of_disk, permit, undamaged
from recsys.storage.leftovers import scratch, sweep, sweep_temporary
from recsys.storage.locks import lock
from recsys.storage.parquet_files import open_dataset, open_parquet, parquet_files, read_rows
from recsys.storage.paths import at, check, failure, is_local, is_within, join, resolve
from recsys.storage.reading import open_input
from recsys.storage.whole import (
    SUCCESS_FILE,
    atomic_output,
    create_folder,
    delete_file,
    delete_folder,
    exists,
    file_sizes,
    is_file,
    is_whole,
    list_files,
    list_folders,
    mark_success,
    move_file,
    read_json,
    read_record,
    upload_folder,
    write_json,
)
from recsys.storage.whole_folders import create_folder_with, folder_output

__all__ = [
    "SUCCESS_FILE",
    "Checksum",
    "Snapshot",
    "Summed",
    "at",
    "atomic_output",
    "check",
    "checked_output",
    "checksum",
    "create_folder",
    "create_folder_with",
    "delete_file",
    "delete_folder",
    "exists",
    "failure",
    "file_sizes",
    "folder_output",
    "full",
    "is_file",
    "is_local",
    "is_whole",
    "is_within",
    "join",
    "known",
    "list_files",
    "list_folders",
    "lock",
    "mark_success",
    "move_file",
    "of_disk",
    "open_arrays",
    "open_checked",
    "open_dataset",
    "open_input",
    "open_parquet",
    "parquet_files",
    "permit",
    "read_json",
    "read_record",
    "read_rows",
    "read_snapshot",
    "replace_json",
    "resolve",
    "scratch",
    "sweep",
    "sweep_temporary",
    "undamaged",
    "update_json",
    "upload_folder",
    "write_arrays",
    "write_json",
]
