"""recsys: events in, the best next items for every user out, as Parquet."""

__version__ = "0.1.0"
