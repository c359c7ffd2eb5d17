"""What every method does: it is fitted on events, scores items for histories, and is saved and loaded as one file."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np
from scipy import sparse

from recsys import storage
from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.measure.protocol import MatrixScorer, Scorer
from recsys.progress import Log, silent

DEFAULTS: Final = Config()

Point = Mapping[str, float]
"""A point of a method's grid: parameters by name."""


class Method(Scorer, Protocol):
    """A scorer that outlives the process that fitted it. To load, the network and the blend need more than a path."""

    def save(self, uri: str) -> None:
        """Writes the fitted method; loaded again, it scores the same."""


@dataclasses.dataclass(frozen=True)
class TraditionalMethod(MatrixScorer):
    """A method without a network: a frozen dataclass of arrays and numbers.

    To add one, put a file into this folder, named as in config.Baseline with `_` for `-`, whose `METHOD` is the class.

    Attributes:
        name: in tables and settings.
        GRID: the points tried on validation; the first is the default.
    """

    name: ClassVar[str]
    GRID: ClassVar[Sequence[Point]] = ({},)

    @classmethod
    @abc.abstractmethod
    def fit(
        cls, events: Histories, n_items: int, points: Sequence[Point], config: Config = DEFAULTS, log: Log = silent
    ) -> Iterator[Self]:
        """Fits the method once per point; what the points share is computed once.

        Args:
            events: the events to learn from, such as the training part, `histories.head(histories.train_length)`.
            n_items: size of the catalogue.
            points: parameters, from `GRID` or of the same form.
            config: the seed, and for methods that use Spark the Spark section.
            log: takes progress lines.
        """

    @classmethod
    def fit_chosen(
        cls,
        parts: tuple[Histories, Histories],
        n_items: int,
        choose: Callable[[Iterable[Self]], int],
        config: Config,
        log: Log = silent,
    ) -> Self:
        """Fits every point of `GRID` on the first part of the events, and the chosen one on the second.

        Args:
            parts: the training part, and all events before the test.
            n_items: size of the catalogue.
            choose: takes the methods fitted on the first part, one at a time; returns the number of the best.
            config, log: see `fit`.
        """
        chosen = choose(cls.fit(parts[0], n_items, cls.GRID, config, log))
        (fitted,) = cls.fit(parts[1], n_items, [cls.GRID[chosen]], config, log)
        return fitted

    @classmethod
    def fit_one(cls, events: Histories, n_items: int, point: Point | None = None) -> Self:
        """Fits the method for one point, by default the first of `GRID`."""
        (fitted,) = cls.fit(events, n_items, [cls.GRID[0] if point is None else point])
        return fitted

    def save(self, uri: str) -> None:
        """Writes every field into one file (storage.arrays)."""
        storage.write_arrays(uri, _flattened(self))

    @classmethod
    def load(cls, uri: str) -> Self:
        """Reads what `save` wrote."""
        with storage.open_arrays(uri) as arrays:
            return cls(**{field.name: _restored(arrays, field.name) for field in dataclasses.fields(cls)})


def _flattened(method: Any) -> Iterable[tuple[str, Any]]:
    """Every field as named arrays; a sparse matrix as the three arrays of the CSR format and its shape."""
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if isinstance(value, sparse.csr_matrix):
            for part in ("data", "indices", "indptr"):
                yield f"{field.name}.{part}", getattr(value, part)
            yield f"{field.name}.shape", np.array(value.shape)
        else:
            yield field.name, value


def _restored(arrays: Any, name: str) -> Any:
    if f"{name}.indptr" in arrays.files:
        data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
        return sparse.csr_matrix((data, indices, indptr), shape=tuple(arrays[f"{name}.shape"]))
    value = arrays[name]
    return value.item() if value.ndim == 0 else value
