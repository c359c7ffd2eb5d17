"""Scoring in shards: each process scores part of the users into its own folder; then these are merged into one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from recsys import storage
from recsys.contract import schema
from recsys.errors import ConfigError, RecsysError

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in every Pod of an Indexed Job."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of `count` parts of the users, numbered from 0.

    Attributes:
        index: which one.
        count: of how many.
    """

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def owns(self, user_index: int, users: int) -> bool:
        """Whether the block of users that begins with `user_index` (from 1) belongs to this shard.

        Blocks are not divided, and are those of a process that scores everyone, so the scores are the same to the last bit.
        """
        return (user_index - 1) * self.count // users == self.index

    def folder(self, shards: str) -> str:
        """Where its recommendations are kept, below the folder of all shards, until they are merged."""
        return storage.join(shards, str(self))

    def facts_file(self, shards: str) -> str:
        """Its counts, as returned by lists.recommend; written last, so that it marks a complete shard."""
        return storage.join(shards, f"{self}.json")

    def is_whole(self, shards: str) -> bool:
        """Whether it is complete."""
        return storage.exists(self.facts_file(shards))


def parse(text: str, environment: Mapping[str, str]) -> Shard:
    """The shard named by `--shard`: `0/3`, or `3` with the index from JOB_COMPLETION_INDEX.

    Raises:
        ConfigError: the text has neither form, or there is no such shard.
    """
    index, _, count = text.rpartition("/")
    index = index or environment.get(INDEX_VARIABLE, "")
    if not (re.fullmatch(r"\d+", index) and re.fullmatch(r"\d+", count) and int(index) < int(count)):
        raise ConfigError(
            f"--shard {text!r}: expected INDEX/COUNT with an index from 0, such as 0/3; or COUNT alone if {INDEX_VARIABLE} "
            f"holds the index (it is {environment.get(INDEX_VARIABLE)!r})"
        )
    return Shard(int(index), int(count))


def missing(folder: str, count: int) -> list[int]:
    """The shards that are not complete yet."""
    return [index for index in range(count) if not Shard(index, count).is_whole(folder)]


def merge(folder: str, target: str, count: int, users: int) -> dict[str, Any]:
    """Moves the files of all shards into one folder, in user order; `_SUCCESS` comes last.

    Can be interrupted at any point and called again: a file is either still in its shard or already in its place.

    Args:
        folder: of the shards, all of which must be complete.
        target: recommendations/ of the run.
        count: number of shards.
        users: how many users they must have scored in total.

    Returns:
        The sums of the shards' counts, the maxima of their seconds and memory, and `written` of all files, by their new names.

    Raises:
        RecsysError: the shards do not add up to all users.
    """
    shards = [Shard(index, count) for index in range(count)]
    facts = [storage.read_json(shard.facts_file(folder)) for shard in shards]
    summed = {name: sum(one[name] for one in facts) for name in ("users", "users_without_events", "rows")}
    if summed["users"] != users:
        raise RecsysError(f"the {count} shards scored {summed['users']} users, but features.json counts {users}")
    scored = [(shard, one["written"]) for shard, one in zip(shards, facts, strict=True)]
    kept = [found for found, one in zip(scored, facts, strict=True) if one["rows"]] or scored[:1]
    parts = [(shard.folder(folder), entry) for shard, written in kept for entry in written]
    sources = [storage.join(place, entry["file"]) for place, entry in parts]
    if all(storage.exists(source) for source in sources):
        storage.delete_folder(target)  # left unfinished by a process that scored everyone
        storage.create_folder(target)
    for number, source in enumerate(sources):
        place = storage.join(target, schema.part_file(number))
        if not storage.exists(place):
            storage.move_file(source, place)
    storage.mark_success(target)
    took = {name: max(one[name] for one in facts) for name in ("seconds", "peak_bytes")}
    written = [{**entry, "file": schema.part_file(number)} for number, (_, entry) in enumerate(parts)]
    return {**took, **summed, "files": len(sources), "k": facts[0]["k"], "shards": count, "written": written}
