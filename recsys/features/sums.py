"""What a partition of histories holds in numbers; the sums of all partitions say what there is to learn from."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import FILE, REASON
from recsys.features.chunks import Chunk

TEXT: Final = "row"
NEVER: Final = int(np.iinfo(np.int64).max)


@dataclasses.dataclass(frozen=True)
class Sums:
    """Counts and extremes of some histories and of the rows set aside.

    Attributes:
        rows: of the source.
        count: number of events.
        users: number of users with an event.
        learned_users: number of users with at least features.min_user_events events.
        earliest: least timestamp; NEVER without events.
        latest: greatest timestamp; -1 without events.
        longest: number of events of the user with the most.
        rejected: number of rows set aside, by reason.
        examples: number of the file and text of one row for each reason.
    """

    rows: int = 0
    count: int = 0
    users: int = 0
    learned_users: int = 0
    earliest: int = NEVER
    latest: int = -1
    longest: int = 0
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    examples: Mapping[str, tuple[int, str]] = dataclasses.field(default_factory=dict)

    def example(self, files: tuple[str, ...]) -> Callable[[str], tuple[str, str] | None]:
        """A function that gives path and text of a row set aside for a reason."""

        def found(reason: str) -> tuple[str, str] | None:
            if reason not in self.examples:
                return None
            file, text = self.examples[reason]
            return files[file], text

        return found

    def to_json(self) -> str:
        """For `total`."""
        return json.dumps(dataclasses.asdict(self))


def of(histories: Sequence[Chunk], aside: pa.RecordBatch, least: int) -> Sums:
    """The sums of one partition.

    Args:
        histories: of all its users.
        aside: (reason, FILE, TEXT) of the rows set aside.
        least: features.min_user_events.
    """
    reasons = aside[REASON].value_counts()
    rejected = dict(zip(reasons.field("values").to_pylist(), reasons.field("counts").to_pylist(), strict=True))
    first = {reason: pc.index(aside[REASON], reason).as_py() for reason in rejected}
    lengths = np.concatenate([np.zeros(0, np.int64), *(chunk.lengths for chunk in histories)])
    count = int(lengths.sum())
    return Sums(
        count + len(aside),
        count,
        len(lengths),
        int(np.count_nonzero(lengths >= least)),
        min((int(chunk.timestamps.min()) for chunk in histories), default=NEVER),
        max((int(chunk.timestamps.max()) for chunk in histories), default=-1),
        int(lengths.max(initial=0)),
        rejected,
        {reason: (aside[FILE][row].as_py(), aside[TEXT][row].as_py()) for reason, row in first.items()},
    )


def total(parts: Iterable[str]) -> Sums:
    """The sums of all partitions, each as `Sums.to_json` gives it; the order does not matter."""
    found = [Sums(**json.loads(part)) for part in parts]
    rejected: Counter[str] = Counter()
    examples: dict[str, tuple[int, str]] = {}
    for part in found:
        rejected.update(part.rejected)
        for reason, (file, text) in part.examples.items():
            examples[reason] = min(examples.get(reason, (file, text)), (file, text))
    return Sums(
        sum(part.rows for part in found),
        sum(part.count for part in found),
        sum(part.users for part in found),
        sum(part.learned_users for part in found),
        min((part.earliest for part in found), default=NEVER),
        max((part.latest for part in found), default=-1),
        max((part.longest for part in found), default=0),
        dict(sorted(rejected.items())),
        examples,
    )
