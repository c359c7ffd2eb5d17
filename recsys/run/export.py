"""The published blend of a run as one SavedModel: `recsys export`."""

from __future__ import annotations

from typing import Final, cast

from recsys import storage
from recsys.config import Config
from recsys.contract import model_files, schema
from recsys.errors import ConfigError
from recsys.progress import Log
from recsys.run.runs import Run
from recsys.run.stages import blend_of

MARK: Final = "saved_model.pb"
"""What a folder that may be overwritten has, unless it is empty or new."""


def export(config: Config, run: Run, folder: str, log: Log) -> None:
    """Writes what recommends in a run, the network and what the blend counts; see recsys.methods.serving.

    Args:
        config: of the run.
        run: one that has been trained.
        folder: path or URI; a new folder, an empty one, or one with a SavedModel, which is replaced.
        log: takes progress lines.

    Raises:
        ConfigError: the run has not been trained, or the folder holds something else.
    """
    from recsys.methods.cnn import Network
    from recsys.methods.serving import save_blend_for_serving

    model = run.path(schema.MODEL_DIR)
    if not storage.is_whole(model):
        raise ConfigError(f"run {run.run_id}: 'train' is needed first: recsys train --output {run.output}")
    there = storage.file_sizes(folder)
    if there and MARK not in there:
        raise ConfigError(f"--to {folder}: there are other files in it, such as {next(iter(there))}; name a new folder")
    with storage.lock(run.folder, shared=True):
        log(f"exporting the blend of run {run.run_id}")
        blend = blend_of(config, run.path(schema.FEATURES_DIR), model, model_files.PUBLISHED, model_files.PUBLISHED_BLEND)
        network = cast(Network, blend.network)
        save_blend_for_serving(network.model, folder, network.encoder, blend.counts, blend.weights)
    log(f"  {sum(storage.file_sizes(folder).values()):,} bytes in {folder}")
