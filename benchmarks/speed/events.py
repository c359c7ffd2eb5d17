"""Made-up events of any number for the tables of speed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

USERS: Final = 138_000
ITEMS: Final = 27_000
EXPONENT: Final = 0.9
"""Of Zipf's law, by which items are chosen."""
REPEATED: Final = 0.1
"""Share of the events that repeat another one."""


def write(path: Path, events: int, users: int = USERS, items: int = ITEMS, seed: int = 0) -> None:
    """Writes `userId,movieId,rating,timestamp` in random order, as CSV or Parquet by the name."""
    random = np.random.default_rng(seed)
    once = int(events / (1 + REPEATED))
    weights = np.cumsum(np.arange(1, items + 1) ** -EXPONENT)
    columns = {
        "userId": random.integers(1, users + 1, once),
        "movieId": np.searchsorted(weights / weights[-1], random.random(once)) + 1,
        "rating": random.integers(1, 11, once) / 2,
        "timestamp": random.integers(800_000_000, 1_500_000_000, once),
    }
    order = random.permutation(np.concatenate([np.arange(once), random.integers(0, once, events - once)]))
    table = pa.table({name: values[order] for name, values in columns.items()})
    partial = path.with_suffix(f".partial{path.suffix}")
    (pq.write_table if path.suffix == ".parquet" else pa.csv.write_csv)(table, partial)
    partial.rename(path)


def settings(source: Path) -> str:
    """The configuration that reads such a file, as TOML."""
    return (
        '[source]\ndataset = "tabular"\nid_type = "integer"\n[source.interactions]\n'
        f'path = "{source}"\nuser_id = "userId"\nitem_id = "movieId"\nrating = "rating"\ntimestamp = "timestamp"\n'
    )
