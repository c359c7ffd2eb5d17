"""One combination of width, precision, XLA and batch: trains and scores as a run does, and says what it cost."""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from recsys.contract import histories
from recsys.contract.histories import Histories
from recsys.measure import threads
from recsys.methods.cnn import Network, read_encoder
from recsys.model.encoding import Encoder
from recsys.model.network import CausalCNN
from recsys.training import packing
from recsys.training.learner import Learner
from recsys.training.phase import Setting, build, epoch_data, soft
from recsys.training.plan import Plan, batch_shape, fit_plan, on_hardware
from recsys.training.steps import Pace, Steps, lookup_tables


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is timed.

    Attributes:
        model: the network.
        encoder: turns histories into the network's inputs.
        plan: of the training.
        shape: rows and length of a batch.
        tables: see steps.lookup_tables.
        steps: see make_steps.
        epoch: chunks of batches of an epoch, from a step on; see epoch_data.
        setting: what it was made for.
    """

    model: CausalCNN
    encoder: Encoder
    plan: Plan
    shape: tuple[int, int]
    tables: dict[str, Any]
    steps: Steps
    epoch: Callable[[int, int], Any]
    setting: Setting

    @property
    def positions(self) -> int:
        """Of a step."""
        return self.shape[0] * self.shape[1]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a step costs, in the median of several calls of many steps each.

    Attributes:
        seconds: wall time.
        host_seconds: processor time of the thread that calls TensorFlow, an upper bound of what Python takes.
        page_faults: pages that the system had to provide.
        steps: of a call.
        compile_seconds: the first call: tracing, compiling and one step.
        ran_on: where TensorFlow left the losses, such as CPU:0.
        arguments: of the last call.
    """

    seconds: float
    host_seconds: float
    page_faults: float
    steps: int
    compile_seconds: float
    ran_on: str
    arguments: tuple[Any, ...] = dataclasses.field(repr=False)


def prepare(setting: Setting) -> Trial:
    """A new network with its optimizer, ready to train on all events of the features."""
    config, info = setting.config, setting.info
    encoder = read_encoder(setting.features, info.published)
    model = build(setting, info.published, encoder)
    part = setting.part(lambda block: block.lengths)
    counts = packing.item_counts(setting.features, info.items, part)
    model.item_known.assign((counts > 0).astype(np.float32))
    shape = batch_shape(config.training, info.train_events)
    plan = fit_plan(config.training, info.train_events, info.items, shape, setting.hardware.xla, info.sparse)
    plan = on_hardware(plan, config.training, setting.hardware, setting.workers.member, info.train_events)
    epoch = epoch_data(setting, encoder, shape, part, config.seed, plan, counts)
    taught = soft(setting, shape, part, config.seed, plan)
    steps = Learner(model, plan).steps(plan, taught)
    return Trial(model, encoder, plan, shape, lookup_tables(encoder.users, taught), steps, epoch, setting)


def cost(trial: Trial, repeats: int) -> Cost:
    """What a step costs while its batches are there; a call takes as many as training would ask for.

    Args:
        trial: see prepare.
        repeats: calls that are timed, after two that compile and find the pace.
    """
    chunk = next(iter(trial.epoch(0, 0)))
    pace, first, found = Pace(alone=True), np.array(0, np.int32), []
    for _ in range(2 + repeats):
        count = np.array(pace.steps(int(chunk["steps"])), np.int32)
        faults, started, working = _page_faults(), time.perf_counter(), time.thread_time()
        losses = trial.steps(trial.tables, chunk, first, count)
        losses.numpy()
        host, seconds = time.thread_time() - working, time.perf_counter() - started
        found.append((seconds, min(host, seconds), _page_faults() - faults))
        if len(found) <= 2:
            pace.took(int(count), seconds)
    each, host_each, faults_each = (statistics.median(values) / int(count) for values in zip(*found[2:], strict=True))
    where = losses.device.rpartition("device:")[2]
    return Cost(each, host_each, faults_each, int(count), found[0][0], where, (trial.tables, chunk, first, count))


def input_stall(trial: Trial, most: int) -> float:
    """Share of an epoch's time in which training waits for batches, the wait for the first of them included.

    Args:
        trial: whose steps are compiled.
        most: steps after which the epoch is cut off.
    """
    done, waited, started = 0, 0.0, time.perf_counter()
    chunks = iter(trial.epoch(0, 0))
    while done < most:
        asked = time.perf_counter()
        chunk = next(chunks, None)
        waited += time.perf_counter() - asked
        if chunk is None:
            break
        count = min(int(chunk["steps"]), most - done)
        trial.steps(trial.tables, chunk, np.array(0, np.int32), np.array(count, np.int32)).numpy()
        done += count
    return waited / (time.perf_counter() - started)


def users_per_second(trial: Trial, k: int, repeats: int) -> float:
    """Users for whom the network finds the k best items not seen yet, several blocks of users at a time, as a run does.

    Args:
        trial: the network, trained or not.
        k: length of the lists.
        repeats: passes over all users, after one that compiles what is left; the median counts.
    """
    network = Network(trial.model, trial.encoder, trial.setting.hardware.blocks.scores)
    everyone = histories.read(trial.setting.features)
    size = network.block_users(trial.model.spec.items)
    blocks = [everyone.rows(np.arange(at, min(at + size, len(everyone)))) for at in range(0, len(everyone), size)]

    def rank(block: Histories) -> int:
        return len(network.top(block, k)[0])

    rank(blocks[0])  # several threads would compile the same at the same time
    found = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        users = sum(threads.in_order(rank, blocks))
        found.append(users / (time.perf_counter() - started))
    return statistics.median(found[1:])


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
