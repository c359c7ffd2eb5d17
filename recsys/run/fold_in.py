"""Lists from new events with a network as it is: `recsys recommend --events`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

from recsys import storage
from recsys.config import Config, Table
from recsys.contract import histories, model_files, schema
from recsys.contract.features_info import read_info
from recsys.errors import ConfigError
from recsys.progress import Progress
from recsys.run.runs import Run
from recsys.run.stages import blend_of

FACTS_FILE: Final = "_fold_in.json"
"""What was read and written, beside the lists; Parquet readers pass over names with an underscore."""
BLOCK_USERS: Final = 65_536
"""Histories are read so many at a time."""
OWN: Final = re.compile(rf"part-\d{{5}}\.parquet|{storage.SUCCESS_FILE}|{FACTS_FILE}")
"""Names of the files that lists are made of: there is nothing else to lose in a folder that holds only these."""


def fold_in(config: Config, run: Run, progress: Progress, events: str, folder: str, all_users: bool = False) -> dict[str, Any]:
    """Writes the lists of the users who have new events, with all their events, as `recommendations/` has those of all users.

    Nothing is trained, but everything is counted anew, with the new events. The run itself stays as it is, and only its items
    are recommended.

    Args:
        config: of the run; the section recommend may differ.
        run: whose network and histories are used.
        progress: reports progress.
        events: file, folder, glob or URI of the events.
        folder: path or URI; a new folder, an empty one, or one that this function has filled.
        all_users: writes the lists of all other users too, which recent popularity changes.

    Returns:
        The content of FACTS_FILE.

    Raises:
        ConfigError: the run has not been trained, or the folder holds something else.
        DataError: the events cannot be used.
    """
    from recsys.features.new_events import fold_in as read
    from recsys.methods.blend import Blend, count
    from recsys.recommend.lists import aligned, write_lists

    for stage, place in (("features", schema.FEATURES_DIR), ("train", schema.MODEL_DIR)):
        if not storage.is_whole(run.path(place)):
            raise ConfigError(f"run {run.run_id}: '{stage}' is needed first: recsys {stage} --output {run.output}")
    if others := [name for name in storage.file_sizes(folder) if not OWN.fullmatch(name)]:
        raise ConfigError(f"--to {folder}: there are other files in it, such as {others[0]}; name a new folder")
    features = run.path(schema.FEATURES_DIR)
    info = read_info(features)
    with progress.stage("recommend"), storage.lock(run.folder, shared=True):
        progress(f"reading {events}")
        found = read(_table(config, events, info.has_ratings), features, info, config)
        progress(f"  {found.events:,} events of {len(found.user_ids):,} users; set aside {sum(found.rejected.values()):,}")
        if found.unknown:
            progress(f"  {found.unknown:,} more are of items that run {run.run_id} does not know")
        before = blend_of(config, features, run.path(schema.MODEL_DIR), model_files.PUBLISHED, model_files.PUBLISHED_BLEND)
        everybody = [block for _, block in found.joined(aligned(features, BLOCK_USERS))]
        learned = histories.learnable(histories.concatenate(everybody), info.min_user_events)
        blend = Blend(before.network, count(learned, info.items, config.seed), before.weights)
        blocks, users = found.blocks(config.recommend.block_users), len(found.user_ids)
        if all_users:
            blocks = found.joined(aligned(features, config.recommend.block_users))
            users = info.users + int((found.histories.user_index == 0).sum())
        facts = write_lists(config.recommend, features, folder, run.run_id, blend, progress, blocks, users)
    facts = {**facts, "run_id": run.run_id, "events": found.events, "unknown": found.unknown, "rejected": dict(found.rejected)}
    storage.write_json(storage.join(folder, FACTS_FILE), facts)
    storage.mark_success(folder)
    return facts


def _table(config: Config, events: str, has_ratings: bool) -> Table:
    """How the events are read: as the run's own, or with the contract's names of columns if it had none of the user's."""
    own = config.source.interactions
    if config.source.dataset == "tabular" and own is not None:
        return dataclasses.replace(own, path=events)
    return Table(events, user_id="user_id", item_id="item_id", timestamp="timestamp", rating="rating" if has_ratings else None)
