"""The published blend of a run as one SavedModel: `recsys export`."""

from __future__ import annotations

import re
from typing import Final, cast

from recsys import storage
from recsys.config import Config
from recsys.contract import model_files, schema
from recsys.errors import ConfigError
from recsys.progress import Log
from recsys.run.runs import RUNS_DIR, Run
from recsys.run.stages import blend_of

LAST: Final = "saved_model.pb"
"""Without it TensorFlow takes no folder for a SavedModel."""
OWN: Final = re.compile(rf"{re.escape(LAST)}|fingerprint\.pb|variables/variables\.(index|data-\d{{5}}-of-\d{{5}})")
"""Files of an export: there is nothing else to lose in a folder that holds only these."""


def export(config: Config, run: Run, folder: str, log: Log) -> None:
    """Writes what recommends in a run, the network and what the blend counts; see recsys.methods.serving.

    Args:
        config: of the run.
        run: one that has been trained.
        folder: path or URI; a new folder, an empty one, or one that an export has filled, whole or not, which is replaced.
        log: takes progress lines.

    Raises:
        ConfigError: the run has not been trained, the folder holds something else, or it belongs to a run.
    """
    from recsys.methods.cnn import Network
    from recsys.methods.serving import save_blend_for_serving

    model = run.path(schema.MODEL_DIR)
    if not storage.is_whole(model):
        raise ConfigError(f"run {run.run_id}: 'train' is needed first: recsys train --output {run.output}")
    if storage.is_within(folder, storage.join(run.output, RUNS_DIR)):
        raise ConfigError(f"--to {folder}: it is among the runs of {run.output}, which must not change; name a new folder")
    if storage.is_file(folder):
        raise ConfigError(f"--to {folder}: it is a file; name a new folder")
    if others := [name for name in storage.file_sizes(folder) if not OWN.fullmatch(name)]:
        raise ConfigError(f"--to {folder}: there are other files in it, such as {others[0]}; name a new folder")
    with storage.lock(run.folder, shared=True), storage.folder_output(folder, LAST) as new:
        log(f"exporting the blend of run {run.run_id}")
        blend = blend_of(config, run.path(schema.FEATURES_DIR), model, model_files.PUBLISHED, model_files.PUBLISHED_BLEND)
        network = cast(Network, blend.network)
        save_blend_for_serving(network.model, new, network.encoder, blend.counts, blend.weights)
    log(f"  {sum(storage.file_sizes(folder).values()):,} bytes in {folder}")
