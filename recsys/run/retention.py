"""Which old runs go once a new one is published, and in what order a run is deleted."""

from __future__ import annotations

from collections.abc import Callable

from recsys import storage
from recsys.contract import schema
from recsys.errors import RecsysError
from recsys.run.publish import PUBLISHED, read_latest
from recsys.run.runs import Run, newest_first

DELETED = "deleted"
"""Status of a run that is being deleted, or of what is left of it where that was cut short."""
_LAST_MADE_FIRST = (schema.RECOMMENDATIONS_DIR, schema.EVALUATION_DIR, schema.MODEL_DIR, schema.FEATURES_DIR)


def delete_old_runs(output: str, keep: int, progress: Callable[[str], None]) -> list[str]:
    """Deletes runs that are older than the published one; the newest `keep` published and `keep` other ones stay.

    Never deleted: the published run, the one that it replaced, a newer one, one whose lock is held. Nothing here is worth
    failing for: what could not be deleted is told, and tried again after the next publishing.

    Args:
        output: folder or URI of the output.
        keep: as Publish.keep_runs; 0 deletes nothing.
        progress: is told what went and what could not go.

    Returns:
        Ids of the deleted runs.
    """
    deleted: list[str] = []
    if not keep:
        return deleted
    try:
        with storage.lock(output):
            for run in _old(output, keep):
                try:
                    _delete(run)
                except (RecsysError, OSError) as error:
                    progress(f"  old run {run.run_id} stays: {error}")
                else:
                    deleted.append(run.run_id)
                    progress(f"  old run {run.run_id} deleted")
    except RecsysError as error:
        progress(f"  old runs stay: {error}")
    return deleted


def _old(output: str, keep: int) -> list[Run]:
    """The runs to delete, the oldest first."""
    latest = read_latest(output)
    runs = newest_first(output)
    place = next((n for n, (run, _) in enumerate(runs) if run.run_id == latest.get("run_id")), len(runs))
    stay = {False: keep, True: keep - 1}  # the published run is the first of its kind
    old = []
    for run, manifest in runs[place + 1 :]:
        published = manifest["status"] == PUBLISHED
        if manifest["status"] != DELETED and stay[published] > 0:
            stay[published] -= 1
        elif run.run_id != latest.get("replaced"):
            old.append(run)
    return old[::-1]


def _delete(run: Run) -> None:
    """Takes a run apart so that, ended anywhere, what is left is not taken for more than it is, and the next call goes on.

    First the manifest says so; then the stages go in the opposite order of their making, each with its marker first; run.json
    goes last, since a folder without it is no run. The lock's file goes with the folder: where a file that is open cannot
    leave its folder (NFS), the folder must be deleted when the lock is released.
    """
    with storage.lock(run.folder):
        run.update({"status": DELETED})
        for name in dict.fromkeys((*_LAST_MADE_FIRST, *storage.list_folders(run.folder))):
            storage.delete_folder(run.path(name))
        storage.delete_file(run.path(schema.RUN_FILE))
    storage.delete_folder(run.folder)
