"""Which old runs are deleted after a new one is published, and in what order a run is deleted."""

from __future__ import annotations

from recsys import storage
from recsys.contract import schema
from recsys.errors import RecsysError
from recsys.progress import Log
from recsys.run import latest as latest_json
from recsys.run.runs import DELETED, Run, newest_first

_LAST_MADE_FIRST = (schema.RECOMMENDATIONS_DIR, schema.EVALUATION_DIR, schema.MODEL_DIR, schema.FEATURES_DIR)


def delete_old_runs(output: str, keep: int, log: Log) -> list[str]:
    """Deletes runs older than the published one; the newest `keep` published runs and `keep` others stay.

    Never deleted: the published run, the one that it replaced, any newer run, any run whose lock is held. Failures are only
    reported: what could not be deleted is tried again after the next run is published.

    Args:
        output: folder or URI of the output.
        keep: as Publish.keep_runs; 0 deletes nothing.
        log: receives what was deleted and what could not be.

    Returns:
        Ids of the deleted runs.
    """
    deleted: list[str] = []
    if not keep:
        return deleted
    try:
        with storage.lock(output):
            for run in _old(output, keep, log):
                try:
                    _delete(run)
                except (RecsysError, OSError) as error:
                    log(f"  old run {run.run_id} was kept: {error}")
                else:
                    deleted.append(run.run_id)
                    log(f"  old run {run.run_id} deleted")
    except RecsysError as error:
        log(f"  old runs were kept: {error}")
    return deleted


def _old(output: str, keep: int, log: Log) -> list[Run]:
    """The runs to delete, oldest first."""
    latest = latest_json.read(output)
    runs = newest_first(output, log)
    place = next((n for n, (run, _) in enumerate(runs) if run.run_id == latest.get("run_id")), len(runs))
    stay = {False: keep, True: keep - 1}  # the published run is the first of its kind
    old = []
    for run, manifest in runs[place + 1 :]:
        published = latest_json.was_published(manifest, latest)
        if manifest["status"] != DELETED and stay[published] > 0:
            stay[published] -= 1
        elif run.run_id != latest.get("replaced"):
            old.append(run)
    return old[::-1]


def _delete(run: Run) -> None:
    """Deletes a run so that, if interrupted, the rest is not mistaken for a usable run and the next call finishes the job.

    The manifest is marked first. Then the stages go in reverse order, each with its success marker first. run.json goes last,
    since a folder without it is not a run. The lock file goes with the folder, after the lock is released: on NFS a file that
    is open cannot be deleted with its folder.
    """
    with storage.lock(run.folder):
        run.update({"status": DELETED})
        for name in dict.fromkeys((*_LAST_MADE_FIRST, *storage.list_folders(run.folder))):
            storage.delete_folder(run.path(name))
        storage.delete_file(run.path(schema.RUN_FILE))
    storage.delete_folder(run.folder)
