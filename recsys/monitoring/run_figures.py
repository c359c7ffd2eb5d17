"""What there is to tell of a run, as it stands in run.json, and of the command that has worked on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recsys import storage
from recsys.contract import schema
from recsys.errors import EXIT_DONE

COUNTED: Final = ("users", "items", "events")


@dataclass(frozen=True)
class Figures:
    """A run after a command has worked on it.

    Attributes:
        name: of the job, see config.Monitoring.
        output: folder or URI of the output.
        folder: of the run.
        manifest: content of run.json.
        began, ended: of the command, seconds since 1970.
        exit_code: of the command.
        reason: why it has failed, without secrets; empty if it has not.
    """

    name: str
    output: str
    folder: str
    manifest: Mapping[str, Any]
    began: float
    ended: float
    exit_code: int = EXIT_DONE
    reason: str = ""

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return str(self.manifest["run_id"])

    @property
    def succeeded(self) -> bool:
        """Whether all stages are done, and so the run is published."""
        return self.exit_code == EXIT_DONE

    @property
    def recommendations(self) -> str:
        """Folder or URI of the lists."""
        return storage.join(self.folder, schema.RECOMMENDATIONS_DIR)

    def stage(self, name: str) -> Mapping[str, Any]:
        """What run.json says of a stage; empty if it has not finished."""
        found: Mapping[str, Any] = self.manifest["stages"].get(name, {})
        return found

    def numbers(self, key: str) -> dict[str, float]:
        """A number that every stage records, such as its seconds, by stage."""
        return {name: float(facts[key]) for name, facts in self.manifest["stages"].items() if key in facts}

    def counts(self) -> dict[str, int]:
        """Users, items and events, if they are counted already."""
        return {name: int(self.stage("features")[name]) for name in COUNTED if name in self.stage("features")}

    def rejected(self) -> Mapping[str, Mapping[str, int]]:
        """Rows that were set aside, by table and reason."""
        found: Mapping[str, Mapping[str, int]] = self.manifest.get("rejected", {})
        return found

    def scores(self) -> Mapping[str, float]:
        """The metrics of the method that is published; empty if nothing was measured."""
        found: Mapping[str, float] = self.manifest.get("metrics", {}).get(self.manifest.get("published_method"), {})
        return {name: float(value) for name, value in found.items() if value is not None}
