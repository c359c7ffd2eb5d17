"""What each stage does: it reads the run's folder, calls the package that does the work, and returns facts for run.json."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from recsys import settings, storage
from recsys.config import Config
from recsys.contract import model_files, schema
from recsys.contract.earlier_run import EarlierRun
from recsys.contract.features_info import SplitInfo, read_info
from recsys.errors import RecsysError
from recsys.progress import Progress
from recsys.run import earlier, taking_over
from recsys.run.ending import Stop
from recsys.run.runs import Run
from recsys.training.cluster import Member, member

if TYPE_CHECKING:
    from recsys.measure.protocol import Scorer
    from recsys.methods.blend import Blend
    from recsys.methods.cnn import Network
    from recsys.recommend.shards import Shard
    from recsys.training.hardware import Hardware
    from recsys.training.phase import Setting


@dataclasses.dataclass(frozen=True)
class Job:
    """A run in progress.

    Attributes:
        config: the configuration of the run.
        run: its folder.
        progress: reports progress.
        stop: whether the process has been asked to stop.
        patience: seconds to wait for another process that holds a lock.
    """

    config: Config
    run: Run
    progress: Progress
    stop: Stop
    patience: float = 0.0


def probe_gpu(job: Job) -> None:
    """Fails early if the requested GPU is missing, before the features are made.

    Raises:
        MissingComponentError: TensorFlow finds no GPU.
    """
    from recsys.spark import child

    child.call("recsys.training.hardware:probe", settings.to_dict(job.config.training), job.progress)


def features(job: Job) -> dict[str, Any]:
    """Source tables → features/, in a child process: with Spark, or from what an earlier run has and a few new files.

    Raises:
        DataError: the tables cannot be used, or a file was changed while it was read.
    """
    from recsys.sources import check_unchanged, open_source
    from recsys.spark import child, memory

    before = taking_over.candidate(job.config, job.run.output)
    with ExitStack() as held:
        scratch = held.enter_context(_scratch(job.run.path("source")))
        source = open_source(job.config, scratch, job.progress, taking_over.inputs(before))
        job.run.update({"inputs": [dict(entry) for entry in source.inputs]})
        since = earlier.choose(job.config, job.run, job.progress)
        chosen = taking_over.chosen(job.config, before, source, job.progress, job.patience)
        base, taken_over = held.enter_context(chosen)
        arguments = {
            "config": settings.to_dict(job.config),
            "tables": dataclasses.asdict(source),
            "features": job.run.path(schema.FEATURES_DIR),
            "since": since,
            "base": None if base is None else dataclasses.asdict(base),
        }
        try:
            variables = {} if base is None else memory.KEEPING
            outcome = child.call("recsys.features.pipeline:run", arguments, job.progress, variables, tell=job.progress.update)
        except RecsysError:
            check_unchanged(source)  # a better reason than what Spark says of half a file
            raise
        added = check_unchanged(source)
    for warning in added:
        job.progress(f"  {warning}")
    info = read_info(job.run.path(schema.FEATURES_DIR))
    job.run.update({"rejected": info.rejected, "warnings": [*info.warnings, *added]})
    job.progress(
        f"  {info.events:,} events of {info.users:,} users with {info.items:,} items; "
        f"training {info.train_events:,}, validation {info.valid_events:,}, test {info.test_events:,}"
    )
    for table, reasons in info.rejected.items():
        for reason, count in reasons.items():
            job.progress(f"  set aside from {table}: {reason} {count:,} (see {schema.FEATURES_DIR}/{schema.REJECTED_DIR})")
    counts = {name: getattr(info, name) for name in ("users", "items", "events", "train_events", "valid_events", "test_events")}
    costs = {"spark_peak_bytes": outcome.peak_bytes, "spark_bytes_left": outcome.bytes_left}
    return {**costs, **counts, **({"taken_over": taken_over} if taken_over else {})}


def train(job: Job) -> dict[str, Any]:
    """features/ → the networks and then the blend, in model/."""
    with earlier.held(job.run):
        return _train(job)


def _train(job: Job) -> dict[str, Any]:
    from recsys.contract import histories
    from recsys.methods import blending
    from recsys.methods.weights import read_weights
    from recsys.training.hardware import choose
    from recsys.training.phase import Setting
    from recsys.training.train import is_trained, train
    from recsys.training.workers import Workers, lost_workers

    place, folder = job.run.path(schema.FEATURES_DIR), job.run.path(schema.MODEL_DIR)
    hardware, taking_part = choose(job.config.training), member(os.environ)
    info = read_info(place)
    setting, news = _warmed(job, Setting(job.config, place, info, hardware))
    only_export = is_trained(setting, folder)
    if only_export and not taking_part.chief:
        job.progress("  already trained; the rest is up to the chief")
        return {}
    with lost_workers(taking_part):
        workers = Workers(Member() if only_export else taking_part)  # the others may have ended long ago
        if workers.member.count > 1:
            job.stop.install()  # anew: TensorFlow has replaced the handler by one that only tells its own coordination
        with job.stop.softly():
            facts = train(dataclasses.replace(setting, workers=workers), folder, job.progress, job.stop)
        if taking_part.chief:
            everything = histories.read_learnable(place, info.min_user_events)
            network, carried = None, None
            if setting.warm is not None:
                carried = read_weights(storage.join(setting.warm.base.model, model_files.PUBLISHED_BLEND))
            elif info.split.holds_out:
                network = network_of(place, folder, model_files.VALIDATED, hardware)
            check = job.stop.check
            chosen = blending.fit(network, everything, info, folder, job.config.seed, job.progress, check, carried)
            if news is not None:
                earlier.record(job.run, news)
            _finish(job, folder)
            facts |= {name: dataclasses.asdict(weights) for name, weights in chosen._asdict().items()}
        workers.barrier()
    return facts


def _warmed(job: Job, setting: Setting) -> tuple[Setting, dict[str, Any] | None]:
    """The setting with the earlier network, if there is one and enough is new; and what run.json records of that."""
    from recsys.training.warm_start import WarmStart, describe, warm_start

    base = earlier.base_of(job.run)
    if base is None:
        return setting, None
    found, news = warm_start(base, job.config, setting.features, setting.info)
    if isinstance(found, WarmStart) and (why := earlier.differs(job.config, job.run)):
        found = why
    facts = earlier.weights_of(job.config, job.run, describe(found, news))
    if isinstance(found, WarmStart):
        job.progress(f"  goes on from the network of run {base.run_id}: {news.events:,} later events ({news.share:.1%})")
        return dataclasses.replace(setting, warm=found), facts
    job.progress(f"  trains a new network: {found}")
    return setting, facts


def evaluate(job: Job) -> dict[str, Any]:
    """The blend, its network and the traditional methods on the test events → evaluation/."""
    from recsys.evaluation.compare import evaluate_run
    from recsys.evaluation.terminal import format_table

    place, folder = job.run.path(schema.FEATURES_DIR), job.run.path(schema.EVALUATION_DIR)
    with earlier.held(job.run):
        metrics = evaluate_run(job.config, place, folder, _measured(job, read_info(place).split), job.progress)
    _finish(job, folder)
    if "methods" in metrics:
        job.progress(format_table(metrics))
        means = {name: method["metrics"] for name, method in metrics["methods"].items()}
        job.run.update({"published_method": metrics["comparison"]["method"], "metrics": means})
    return {}


def _measured(job: Job, split: SplitInfo) -> list[Scorer]:
    """The methods to measure beside the traditional ones, the published one first."""
    if not split.holds_out:
        return []
    blend = load_blend(job, model_files.EVALUATED, model_files.EVALUATED_BLEND)
    cnn = blend.cnn(job.run.path(schema.MODEL_DIR, model_files.EVALUATED_BLEND))
    base = earlier.base_of(job.run)
    if base is None or split.since is None:  # what is held out has been learned by the earlier network
        return [blend, cnn]
    return [blend, cnn, _published(job, base, job.run.path(schema.FEATURES_DIR))]


def recommend(job: Job, shard: Shard | None = None) -> dict[str, Any]:
    """The published blend → recommendations/, or one shard of them."""
    from recsys.recommend import overlap
    from recsys.recommend.lists import EVERYBODY, recommend

    blend = load_blend(job, model_files.PUBLISHED, model_files.PUBLISHED_BLEND)
    folder = job.run.path(schema.RECOMMENDATIONS_DIR) if shard is None else shard.folder(job.run.path(schema.SHARDS_DIR))
    place = job.run.path(schema.FEATURES_DIR)
    facts = recommend(job.config.recommend, place, folder, job.run.run_id, blend, job.progress, shard or EVERYBODY)
    lists = earlier.lists_of(job.run)
    if lists is not None and shard is None:
        overlap.tell(facts.setdefault("changes", overlap.compare(lists, folder)), job.progress)
    _finish(job, folder)
    return facts


def report(job: Job) -> dict[str, Any]:
    """What the run's folder tells → report/."""
    from recsys.run.reporting import write_report

    facts = write_report(job.config, job.run)
    job.progress(f"  {facts['bytes']:,} bytes in {job.run.path(schema.REPORT_DIR)}")
    _finish(job, job.run.path(schema.REPORT_DIR))
    return facts


def publish(job: Job) -> dict[str, Any]:
    """Checks the quality gate, moves latest.json, and deletes old runs by the retention settings."""
    from recsys.run.publish import publish
    from recsys.run.retention import delete_old_runs

    latest = publish(job.config, job.run, job.patience)
    job.progress(f"  published: {storage.join(job.run.output, schema.LATEST_FILE)} → {latest['recommendations']}")
    deleted = delete_old_runs(job.run.output, job.config.publish.keep_runs, job.progress)
    return {"published_at": latest["published_at"], "deleted_runs": deleted}


RUNNERS: Final[Mapping[str, Callable[[Job], dict[str, Any]]]] = {
    "features": features,
    "train": train,
    "evaluate": evaluate,
    "recommend": recommend,
    "report": report,
    "publish": publish,
}
"""The stages in order."""


def _finish(job: Job, folder: str) -> None:
    """Marks what a stage has written as complete.

    Not after SIGTERM: a library may have swallowed the exception of its handler, such as one that loads weights and leaves out
    those that it cannot load. What came of that must not be taken for a result.
    """
    job.stop.check()
    storage.mark_success(folder)


def load_blend(job: Job, network: str, blend: str) -> Blend:
    """A fitted blend of the run, evaluated or published, by the names of its files (contract.model_files)."""
    return blend_of(job.config, job.run.path(schema.FEATURES_DIR), job.run.path(schema.MODEL_DIR), network, blend)


def _published(job: Job, base: EarlierRun, place: str) -> Scorer:
    """What an earlier run recommends, asked about the users and items of this one."""
    from recsys.contract import matching
    from recsys.methods.translated import Translated

    blend = blend_of(job.config, base.features, base.model, model_files.PUBLISHED, model_files.PUBLISHED_BLEND)
    items, users = (matching.origins(base.features, place, key) for key in (schema.ITEM_ID, schema.USER_ID))
    return Translated(blend, items, users)


def blend_of(config: Config, place: str, model: str, network: str, blend: str) -> Blend:
    """A fitted blend of a run, by its folders features/ and model/ and the names of the files (contract.model_files)."""
    hardware = to_score(config)  # first: TensorFlow would not be imported quietly by what follows
    from recsys.methods.blend import Blend

    return Blend.load(storage.join(model, blend), network_of(place, model, network, hardware))


def to_score(config: Config) -> Hardware:
    """The hardware for scoring: a GPU that was required for training need not be there any more."""
    from recsys.training.hardware import choose

    training = config.training
    return choose(dataclasses.replace(training, device="auto") if training.device == "gpu" else training)


def network_of(place: str, model: str, file: str, hardware: Hardware) -> Network:
    """One of a run's networks, by its folders and the name of the file, with the features in its own encoding."""
    from recsys.methods.cnn import Network, read_encoder

    info = read_info(place)
    encoder = read_encoder(place, info.published if file == model_files.PUBLISHED else info.evaluated)
    return Network.load(storage.join(model, file), encoder, hardware.precision, hardware.blocks.scores)


@contextmanager
def _scratch(folder: str) -> Iterator[str]:
    """The given folder, kept if the block fails; for an object store, a temporary one on this machine."""
    if storage.is_local(folder):
        yield folder
        storage.delete_folder(folder)
        return
    with storage.scratch("source") as temporary:
        yield temporary
