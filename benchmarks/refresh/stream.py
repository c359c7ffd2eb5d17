"""A data set as a stream: its events in order of time, cut into slices, each a Parquet file that a shop would add one night."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.quality.temporal import source
from recsys import settings, settings_text
from recsys.config import Config, Source, Table
from recsys.progress import silent
from recsys.sources import SourceTables, input_files, open_source

SLICES: Final = 25
"""Of equal size, 4 % of the events each."""
COLUMNS: Final = ("user_id", "item_id", "rating", "timestamp")
DRIFTING: Final = "drifting"


@dataclasses.dataclass(frozen=True)
class Stream:
    """The slices.

    Attributes:
        folder: holds 00.parquet, 01.parquet, … in order of time.
        config: the file for --config but for the path of the events, see `settings_file`.
    """

    folder: Path
    config: Config

    def files(self, first: int, end: int) -> list[Path]:
        """Those of the slices from `first` to before `end`."""
        return [self.folder / f"{number:02d}.parquet" for number in range(first, end)]

    def events(self, first: int, end: int) -> pd.DataFrame:
        """Their events, in order of time."""
        return pd.concat([pd.read_parquet(path) for path in self.files(first, end)], ignore_index=True)

    def settings_file(self, place: Path, first: int, end: int) -> Path:
        """Puts these slices into a folder of their own, as a shop would find them, and writes the configuration for it."""
        nights = place / "events"
        nights.mkdir(parents=True, exist_ok=True)
        wanted = self.files(first, end)
        for link in nights.iterdir():
            if link.name not in {path.name for path in wanted}:
                link.unlink()
        for path in wanted:
            if not (nights / path.name).exists():
                (nights / path.name).hardlink_to(path)
        own = Table(str(nights / "*.parquet"), **dict(zip(COLUMNS, COLUMNS, strict=True)))
        with_events = dataclasses.replace(self.config.source, interactions=own)
        file = place / "shop.toml"
        file.write_text(settings_text.toml(dataclasses.replace(self.config, source=with_events)))
        return file


def cut(name: str, data: Path, folder: Path, seed: int) -> Stream:
    """The stream of a data set: `drifting`, or one of benchmarks.quality.temporal.

    Args:
        name: of the data set.
        data: has the zips and amazon/.
        folder: for the slices.
        seed: of the made-up data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables, events = _drifting(folder, seed) if name == DRIFTING else _real(name, data, folder)
    order = np.lexsort((np.arange(len(events)), events["timestamp"]))
    events = events.iloc[order].drop_duplicates(["user_id", "item_id"])
    bounds = np.linspace(0, len(events), SLICES + 1).astype(int)
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        events.iloc[start:end].to_parquet(folder / f"{number:02d}.parquet", index=False)
    kept = Source(
        dataset="tabular", users=tables.users, items=tables.items, id_type=tables.id_type, interactions=tables.interactions
    )
    return Stream(folder, Config(source=kept))


def _real(name: str, data: Path, folder: Path) -> tuple[SourceTables, pd.DataFrame]:
    arguments = [str(one) for one in source(name, data, folder)]
    file = arguments[1] if arguments[0] == "--config" else None
    options = [] if file else [("source.dataset", name), ("source.path", arguments[3])]
    tables = open_source(settings.load(file, {}, options), str(folder / "source"), silent)
    table = tables.interactions
    (path,) = input_files(table)
    found = pd.read_csv(
        path, sep=table.delimiter, names=list(table.names) or None, header=0 if table.header else None, engine="python"
    )
    own = [table.user_id, table.item_id, table.rating, table.timestamp]
    return tables, found[own].set_axis(list(COLUMNS), axis=1)


def _drifting(folder: Path, seed: int) -> tuple[SourceTables, pd.DataFrame]:
    """Built-in data whose taste drifts: events of one world give way to those of another, with other rules and favourites."""
    worlds = []
    for number in (seed, seed + 1):
        config = settings.load(None, {}, [("seed", str(number))])
        tables = open_source(config, str(folder / f"world-{number}"), silent)
        worlds.append((tables, pd.concat([pd.read_parquet(path) for path in input_files(tables.interactions)])))
    random = np.random.default_rng(seed)
    parts = []
    for sign, (_, events) in zip((-1, 1), worlds, strict=True):
        time = events["timestamp"].to_numpy()
        share = (time - time.min()) / (time.max() - time.min())
        parts.append(events[random.random(len(events)) < (share if sign > 0 else 1 - share)])
    return worlds[0][0], pd.concat(parts)[list(COLUMNS)]
