"""RecBole's NextItNet (Yuan et al., WSDM 2019): a row a prefix of a history, its next item the target.

Settings are those that RecBole's own benchmark found best on MovieLens 1M (benchmark/hyper/sequential/NextItNet-ml-1m_seq.md):
learning rate .003, kernel 3, width 64, the last 50 events, 4,096 rows a batch, full softmax.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import NextItNet
from recbole.trainer import Trainer
from recbole.utils import init_seed

from benchmarks.speed import training_peer
from benchmarks.speed.training_peer import Events, Watch

NAME = "ml-1m-published"
SETTINGS = {
    "learning_rate": 0.003,
    "kernel_size": 3,
    "embedding_size": 64,
    "MAX_ITEM_LIST_LENGTH": 50,
    "train_batch_size": 4096,
    "train_neg_sample_args": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "mode": "full", "order": "TO"},
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "reproducibility": False,  # its documentation asks for that with dilations
    "show_progress": False,
}
USERS = 500
"""Ranked at once."""


class Counted:
    """A loader of batches that counts their rows, and ends when time is over."""

    def __init__(self, loader: Any, watch: Watch) -> None:
        self._loader, self._watch = loader, watch

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            yield batch
            if self._watch.trained(len(batch)):
                return


def write(path: str, folder: Path) -> None:
    """Writes the file in RecBole's format; the number of the line is its time."""
    folder.mkdir(parents=True, exist_ok=True)
    table = np.loadtxt(path, np.int64)
    times = np.arange(len(table))[:, None]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(folder / f"{NAME}.inter", np.hstack([table, times]), "%d", "\t", header=header, comments="")


@torch.no_grad()
def rank(model: NextItNet, dataset: Any, rows: Any, events: Events) -> np.ndarray:
    """The list of every user, from RecBole's own rows of validation."""
    model.eval()
    users = dataset.id2token("user_id", rows["user_id"]).astype(np.int64) - 1
    items = np.append(0, dataset.id2token("item_id", np.arange(1, dataset.item_num)).astype(np.int64))
    scores = np.zeros((len(users), events.items + 1), np.float32)
    for start in range(0, len(users), USERS):
        part = slice(start, start + USERS)
        scores[users[part, None], items] = model.full_sort_predict(rows[part].to(model.device)).cpu().numpy()
    return training_peer.best(scores, events.learned)


def main(path: str, limit: str, folder: str) -> None:
    """Trains on the file at `path`, up to `limit` seconds; `folder` is for RecBole's files."""
    torch.set_num_threads(training_peer.CORES)
    place, sys.argv[1:] = Path(folder), []  # RecBole reads them, too
    write(path, place / NAME)
    os.chdir(place)  # where it leaves what it logs
    settings = {**SETTINGS, "data_path": str(place), "checkpoint_dir": str(place / "saved")}
    config = Config(model="NextItNet", dataset=NAME, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, dataset)
    model = NextItNet(config, train_data.dataset).to(config["device"])
    trainer, events = Trainer(config, model), Events.read(path)
    watch = Watch(events, len(train_data.dataset.inter_feat), float(limit))
    rows, epoch = valid_data.dataset.inter_feat, 0
    while watch.goes_on:
        watch.start()
        trainer._train_epoch(Counted(train_data, watch), epoch)
        watch.stop()
        watch.validate(lambda: rank(model, dataset, rows, events))
        epoch += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
