"""Users to forget: none of their rows gets further than the reader, neither used nor set aside."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys import storage
from recsys.errors import DataError
from recsys.features import values


@dataclasses.dataclass(frozen=True)
class Forgotten:
    """Who is to be forgotten.

    Attributes:
        ids: of the type that user ids have.
        texts: the same as text.
    """

    ids: pa.Array
    texts: frozenset[str]

    @classmethod
    def read(cls, path: str | None, kind: pa.DataType) -> Forgotten:
        """Reads a text file with one id in each line; nobody without a path.

        Raises:
            DataError: an id is not of the type that user ids have, or the file is not text in UTF-8.
        """
        if path is None:
            return cls(pa.array([], kind), frozenset())
        with storage.open_input(path) as stream:
            content = stream.read()
        try:
            texts = [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise DataError(f"{path} (source.forget) is not text in UTF-8: {error}") from None
        ids = values.identifiers(pa.array(texts, pa.string()), kind)
        if ids.null_count:
            wrong = texts[int(np.flatnonzero(values.is_null(ids))[0])]
            raise DataError(f"{path} (source.forget): {wrong!r} is no id of a user here, whose ids are of type {kind}")
        return cls(ids, frozenset(texts) | frozenset(map(str, ids.to_pylist())))

    def __bool__(self) -> bool:
        return len(self.ids) > 0

    def are(self, ids: pa.Array) -> NDArray[np.bool_]:
        """Which of some users are forgotten."""
        if not self:
            return np.zeros(len(ids), bool)
        found: NDArray[np.bool_] = pc.is_in(ids, value_set=self.ids).to_numpy(zero_copy_only=False)
        return found

    def are_named(self, rows: pa.Array, delimiter: str | None) -> NDArray[np.bool_]:
        """Which rows that could not be parsed have the id of a forgotten user as one of their values.

        Args:
            rows: their text.
            delimiter: between the values; None for JSON from Parquet.
        """
        if not self:
            return np.zeros(len(rows), bool)
        found = [any(value in self.texts for value in _values(row or "", delimiter)) for row in rows.to_pylist()]
        return np.array(found, bool)


def _values(row: str, delimiter: str | None) -> Iterator[str]:
    if delimiter is None:
        return map(str, json.loads(row).values()) if row else iter(())
    return (value.strip(" \t\r\n\"'") for value in row.split(delimiter))


NOBODY = Forgotten(pa.array([], pa.string()), frozenset())
