"""What a run has made so far, as dataclasses and pandas DataFrames; its files are read when they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.config import Config
from recsys.contract import histories, model_files, schema
from recsys.contract.features_info import EncodedFeature, FeaturesInfo, read_info
from recsys.errors import ConfigError
from recsys.run import job, runs, showing

if TYPE_CHECKING:
    import pandas as pd

PARTS: Final = ("train", "validation", "test", "unused")
"""Of the events. Those of users with fewer than `features.min_user_events` are unused."""
_MAKERS: Final = {
    "features": "build_features",
    "train": "train_model",
    "evaluate": "evaluate_model",
    "recommend": "recommend_items",
    "report": "report_run",
}
_EXAMPLES: Final = 3


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, finished or not: where it is, and what it has made.

    Every attribute and method below reads the run's files anew. They raise ConfigError if the stage that makes them has not
    finished, and DamagedError if a file is missing or not what was written.

    Attributes:
        output: folder or URI of the output.
        run_id: name of the run, unique in the output.

    >>> import recsys
    >>> run = recsys.open_run()
    >>> run.stages
    ('features', 'train', 'evaluate', 'recommend', 'report', 'publish')
    """

    output: str
    run_id: str

    @property
    def folder(self) -> str:
        """The run's own folder."""
        return self._run.folder

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of run.json: configuration, versions, inputs, and of each stage seconds and peak memory."""
        return self._run.manifest()

    @property
    def config(self) -> Config:
        """The configuration that the run was made with; secrets in it are masked."""
        return self._run.config()

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that have finished, in order: out of features, train, evaluate, recommend, report and publish."""
        return tuple(stage for stage in job.STAGES if job.is_done(self._run, stage))

    @property
    def features(self) -> FeaturesInfo:
        """Sizes, the split, what every encoded feature stands for, and counts of the rows set aside.

        >>> run.features.split.method
        'global-time'
        >>> [feature.name for feature in run.features.evaluated.item_features]
        ['genres', 'year', 'title_words', 'popularity', 'mean_rating']
        """
        return read_info(self._made("features"))

    def histories(self) -> pd.DataFrame:
        """All events, of each user in time order.

        Columns: user_id and item_id as in the source, title (None if there is none), rating float32, timestamp (UTC), and
        part, one of `PARTS`.

        >>> list(run.histories().columns)
        ['user_id', 'item_id', 'title', 'rating', 'timestamp', 'part']
        """
        import pandas as pd

        place = self._made("features")
        found, users, items = histories.read(place), self._table(schema.USERS_DIR), self._titles()
        lengths = found.lengths
        position = histories.ranges(np.zeros(len(found), np.int64), lengths)
        train, valid = (np.repeat(ends, lengths) for ends in (found.train_length, found.valid_length))
        part = (position >= train).astype(np.int8) + (position >= valid)
        part[np.repeat(lengths < read_info(place).min_user_events, lengths)] = PARTS.index("unused")
        owner = pa.array(np.repeat(found.user_index, lengths) - 1)
        rows = items.take(pa.array(found.items - 1))
        return pd.DataFrame(
            {
                schema.USER_ID: users.column(schema.USER_ID).take(owner).to_pandas(),
                schema.ITEM_ID: rows.column(schema.ITEM_ID).to_pandas(),
                schema.TITLE: rows.column(schema.TITLE).to_pandas(),
                schema.RATING: found.ratings,
                schema.TIMESTAMP: _times(pa.array(found.timestamps)),
                "part": pd.Categorical.from_codes(part, PARTS),
            }
        )

    def users(self) -> pd.DataFrame:
        """All users, with their features as encoded for the network that is measured: words for codes, None for unknown;
        numbers standardised, as the network sees them."""
        return self._entities(schema.USERS_DIR, self.features.evaluated.user_features)

    def items(self) -> pd.DataFrame:
        """All items, by falling popularity in the training part, with title, train_count (events in the training part),
        first_seen (time of the first of them) and features, see `users`.

        >>> list(run.items().columns[:4])
        ['item_id', 'title', 'train_count', 'first_seen']
        """
        found = self._entities(schema.ITEMS_DIR, self.features.evaluated.item_features)
        found[schema.FIRST_SEEN] = _times(self._table(schema.ITEMS_DIR).column(schema.FIRST_SEEN))
        return found

    def rejected(self) -> pd.DataFrame:
        """The rows of the source that were set aside: table, reason, file and the row's text."""
        return self._table(schema.REJECTED_DIR).to_pandas()

    @property
    def history(self) -> pd.DataFrame:
        """The learning curve, a row for each epoch: phase ("fit", and the refits "refit" and "final"), epoch, loss, seconds,
        and in "fit" NDCG@10 and HR@10 on the validation part.

        >>> list(run.history["phase"].unique())
        ['fit', 'refit', 'final']
        """
        import pandas as pd

        place = storage.join(self._made("train"), model_files.HISTORY)
        with storage.undamaged(place), storage.open_input(place) as stream:
            return pd.read_csv(stream)

    @property
    def metrics(self) -> pd.DataFrame:
        """Means over the test users: a row for each method, the published one first; a column for each metric.

        >>> list(run.metrics.index[:2])
        ['blend', 'cnn']
        >>> bool(run.metrics.loc["blend", "ndcg@10"] > run.metrics.loc["cnn", "ndcg@10"])
        True
        """
        return self._by_method("metrics")

    @property
    def std_errors(self) -> pd.DataFrame:
        """Standard errors of `metrics`, of those that are means over users."""
        return self._by_method("std_errors")

    @property
    def comparison(self) -> pd.DataFrame:
        """How much better the published method is than each other one: the paired difference of the means, and its 95 %
        bootstrap interval over users.

        Columns: method (the other one), metric, difference, low, high, significant (whether the interval excludes 0).
        """
        import pandas as pd

        minus = self._evaluation()["comparison"]["minus"]
        rows = [{"method": name, "metric": metric, **row} for name, found in minus.items() for metric, row in found.items()]
        return pd.DataFrame(rows, columns=["method", "metric", "difference", "low", "high", "significant"])

    def recommendations(self, user_id: Any = None) -> pd.DataFrame:
        """The lists: user_id, rank from 1, item_id, title and score.

        Args:
            user_id: of one user, as in the source; by default all are returned.

        Raises:
            ConfigError: there is no such user.

        >>> run.recommendations(user_id=1)["rank"].tolist()
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        """
        self._made("recommend")
        found = histories.read_table(self.folder, schema.RECOMMENDATIONS_DIR)
        if user_id is not None:
            found = found.filter(pc.equal(found.column(schema.USER_ID), self._id(found, schema.USER_ID, user_id)))
        frame = found.select([schema.USER_ID, schema.RANK, schema.ITEM_ID, schema.SCORE]).to_pandas()
        items = self._titles()
        row = pc.index_in(found.column(schema.ITEM_ID), value_set=items.column(schema.ITEM_ID).combine_chunks())
        frame.insert(3, schema.TITLE, items.column(schema.TITLE).take(row).to_pandas())
        return frame

    def item_vectors(self) -> pd.DataFrame:
        """What the published network has learned of each item: float32 vectors, a row for each item_id, by falling popularity
        in the training part. Items that follow the same events have vectors that point the same way.

        Raises:
            MissingComponentError: TensorFlow is not installed.

        >>> run.item_vectors().shape[0] == run.features.items
        True
        """
        import pandas as pd

        self._made("train")
        vectors = showing.item_vectors(self._run)
        ids = self._titles().column(schema.ITEM_ID).to_pandas()
        return pd.DataFrame(vectors[1:], index=pd.Index(ids, name=schema.ITEM_ID))

    def similar_items(self, item_id: Any, k: int = 10) -> pd.DataFrame:
        """The items nearest to an item, by the cosine of their `item_vectors`.

        Args:
            item_id: as in the source.
            k: most items to return.

        Returns:
            rank from 1, item_id, title and similarity, from -1 to 1.

        Raises:
            ConfigError: there is no such item.
            MissingComponentError: TensorFlow is not installed.

        >>> len(run.similar_items(1, k=5))
        5
        """
        from recsys.recommend.neighbours import nearest

        items = self._titles()
        row = pc.index(items.column(schema.ITEM_ID), self._id(items, schema.ITEM_ID, item_id)).as_py()
        found, cosines = nearest(self.item_vectors().to_numpy(), row, k)
        frame = items.take(pa.array(found)).to_pandas()
        frame.insert(0, schema.RANK, np.arange(1, len(found) + 1, dtype=np.int32))
        frame["similarity"] = cosines
        return frame

    @property
    def _run(self) -> runs.Run:
        return runs.Run(self.output, self.run_id)

    def _made(self, stage: str) -> str:
        """The folder of a stage that has finished."""
        if not job.is_done(self._run, stage):
            begin = "build_features(config)" if stage == "features" else f"{_MAKERS[stage]}(run)"
            raise ConfigError(f"run {self.run_id} in {self.output}: '{stage}' has not finished; call recsys.{begin} first")
        return self._run.path(runs.FOLDERS[stage])

    def _table(self, folder: str, columns: list[str] | None = None) -> pa.Table:
        """A folder of features/."""
        return histories.read_table(self._made("features"), folder, columns)

    def _titles(self) -> pa.Table:
        """item_id and title, in order of index."""
        return self._table(schema.ITEMS_DIR, [schema.ITEM_ID, schema.TITLE])

    def _entities(self, folder: str, features: tuple[EncodedFeature, ...]) -> pd.DataFrame:
        found = self._table(folder).to_pandas().drop(columns=[schema.USER_INDEX, schema.ITEM_INDEX], errors="ignore")
        for feature in features:
            if feature.values is not None:
                found[feature.name] = found[feature.name].map(_words(feature.values))
        return found

    def _evaluation(self) -> Mapping[str, Any]:
        found: dict[str, Any] = storage.read_json(storage.join(self._made("evaluate"), schema.METRICS_FILE))
        if "methods" not in found:
            raise ConfigError(f"run {self.run_id} in {self.output}: {found['note']}")
        return found

    def _by_method(self, name: str) -> pd.DataFrame:
        import pandas as pd

        found = pd.DataFrame({method: facts[name] for method, facts in self._evaluation()["methods"].items()}).T
        return found.rename_axis("method")

    def _id(self, table: pa.Table, key: str, given: Any) -> pa.Scalar:
        """An id in the type that the source has, if it is in the table."""
        column = table.column(key)
        try:
            found = pa.scalar(given, column.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            found = None
        if found is None or not pc.any(pc.equal(column, found)).as_py():
            examples = ", ".join(map(repr, pc.unique(column).slice(0, _EXAMPLES).to_pylist()))
            raise ConfigError(f"{key} {given!r} is not in run {self.run_id}; ids look like: {examples}")
        return found


def _words(values: tuple[str, ...]) -> Callable[[Any], Any]:
    """Turns a code, or several, into what they stand for."""

    def words(code: Any) -> Any:
        if np.ndim(code):
            return [values[one - 1] for one in code]
        return values[code - 1] if code else None

    return words


def _times(seconds: Any) -> pd.Series[Any]:
    """Seconds as moments in UTC."""
    return seconds.cast(pa.timestamp("s", "UTC")).to_pandas()
