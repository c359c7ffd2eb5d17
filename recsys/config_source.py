"""The settings of the section source: where the events come from, and how to read them. See recsys.config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from recsys.setting_types import (
    CHECKED,
    NUMBER,
    Column,
    Delimiter,
    Encoding,
    FolderOrAuto,
    Forget,
    Name,
    Names,
    Path,
    Pattern,
    UrlOrAuto,
    YesNoOrAuto,
)

Kind = Literal["categorical", "multi", "numeric", "text"]
"""What a feature is."""


@dataclass(frozen=True, config=CHECKED)
class Feature:
    """One feature of users or items, taken from one source column or, with `flags`, from several 0/1 columns."""

    kind: Kind
    """How values are encoded: one value, several values, a number, or words."""
    column: Column = None
    """Source column. Defaults to the feature's own name."""
    separator: Name = "|"
    """Separates the values of a `multi` column."""
    pattern: Pattern = None
    """Regular expression; its first group is the value, such as the year in a title."""
    flags: Names = ()
    """For `multi`: 0/1 source columns; a column's name is a value where the column is 1 (MovieLens 100K's genres)."""

    @model_validator(mode="after")
    def _check_flags(self) -> Self:
        if self.flags and self.kind != "multi":
            raise ValueError(f"flags need kind multi, not {self.kind}")
        if self.flags and (self.column is not None or self.pattern is not None):
            raise ValueError("flags are columns themselves: leave out column and pattern")
        return self


@dataclass(frozen=True, config=CHECKED)
class Table:
    """One source table: where it is, how to read it, and which columns hold ids, times and features."""

    path: Path
    """File, folder, glob or URI. A relative path is relative to the configuration file. `.gz` files are decompressed."""
    format: Literal["auto", "csv", "parquet"] = "auto"
    """File format; `auto` decides by the files' names."""
    delimiter: Delimiter = ","
    """CSV: separates values; may be longer than one character."""
    header: bool = True
    """CSV: whether the first line holds the column names."""
    names: Names = ()
    """CSV without a header: column names, in order."""
    encoding: Encoding = "utf-8"
    """CSV: text encoding, such as utf-8, latin-1 or cp1252."""
    quoting: bool = True
    """CSV: whether `"` quotes a value; inside it, `""` stands for `"` (RFC 4180)."""
    multiline: YesNoOrAuto = None
    """CSV: whether quoted values may contain line breaks; one core then reads each file. Defaults to yes for users and items;
    left out, a quote in the events that stays open at the end of a line is an error."""
    user_id: Column = None
    """Column of the user's id."""
    item_id: Column = None
    """Column of the item's id."""
    rating: Column = None
    """Column of the rating. Without it, every event counts the same."""
    timestamp: Column = None
    """Column of the event's time; see `source.timestamp_unit`."""
    title: Column = None
    """Column of the item's title, for people to read."""
    features: Mapping[Name, Feature] = Field(default_factory=dict)
    """Features of users or items, by name."""


@dataclass(frozen=True, config=CHECKED)
class Synthetic:
    """Size of the built-in data set."""

    users: Annotated[int, Field(ge=2, le=10_000_000), NUMBER] = 1000
    """Number of users."""
    items: Annotated[int, Field(ge=2, le=1_000_000), NUMBER] = 500
    """Number of items."""
    mean_events: Annotated[int, Field(ge=1, le=10_000), NUMBER] = 40
    """Mean number of events per user; at most half the number of items."""


@dataclass(frozen=True, config=CHECKED)
class Source:
    """Where the events come from."""

    dataset: Name = "synthetic"
    """`synthetic`, `tabular` (your own files) or a MovieLens data set; see `recsys dataset list`."""
    path: FolderOrAuto = None
    """Zip or folder of a MovieLens data set that you already have."""
    cache_dir: FolderOrAuto = None
    """Download cache. Defaults to $XDG_CACHE_HOME/recsys or ~/.cache/recsys."""
    mirror: UrlOrAuto = None
    """Base URL to download MovieLens from, instead of GroupLens. A user and password in it are masked in run.json."""
    id_type: Literal["auto", "string", "integer"] = "auto"
    """Type of the ids in CSV files; `auto` keeps them as text, unchanged. Ids in Parquet files keep their own type."""
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso8601"] = "s"
    """Unit of the timestamps, or `iso8601` for text."""
    interactions: Table | None = None
    """The events; required for the data set `tabular`."""
    users: Table | None = None
    """The users and their features."""
    items: Table | None = None
    """The items, their titles and features."""
    forget: Forget = None
    """Text file with the ids of users to forget, one in each line: nothing of theirs is read. See docs/freshness.md."""
    synthetic: Synthetic = Synthetic()
