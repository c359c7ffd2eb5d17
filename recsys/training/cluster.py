"""Which processes train together: this one alone, or the workers named in TF_CONFIG."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from recsys.errors import ConfigError

VARIABLE = "TF_CONFIG"


@dataclasses.dataclass(frozen=True)
class Member:
    """One of the processes that train together.

    Attributes:
        index: its number; 0 is the chief.
        count: number of processes.
    """

    index: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this is the process that measures and writes."""
        return self.index == 0

    def rows(self, total: int) -> slice:
        """The rows of a batch that this process takes.

        Raises:
            ConfigError: there are fewer rows than processes.
        """
        if total < self.count:
            raise ConfigError(
                f"a step has {total} rows for {self.count} workers, and each needs one: use fewer workers, a larger "
                "training.batch_tokens or a smaller training.row_length"
            )
        return slice(total * self.index // self.count, total * (self.index + 1) // self.count)


def member(environment: Mapping[str, str]) -> Member:
    """This process as described by TF_CONFIG; without it, the only one.

    Raises:
        ConfigError: TF_CONFIG describes something other than a worker among workers.
    """
    text = environment.get(VARIABLE)
    if not text:
        return Member()
    try:
        described = json.loads(text)
        found = Member(int(described["task"]["index"]), len(described["cluster"]["worker"]))
        good = set(described["cluster"]) == {"worker"} == {described["task"]["type"]} and 0 <= found.index < found.count
    except (ValueError, TypeError, KeyError):
        good = False
    if not good:
        raise ConfigError(
            f'{VARIABLE} is {text[:300]!r}; expected {{"cluster": {{"worker": ["host:port", …]}}, "task": {{"type": "worker", '
            '"index": 0}} where the index counts the addresses from 0 (the chief)'
        )
    return found
