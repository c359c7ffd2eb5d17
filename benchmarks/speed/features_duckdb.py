"""The work of `recsys features` by DuckDB: EVENTS → histories, users and items in Parquet below OUTPUT."""

from __future__ import annotations

import sys

import duckdb

SQL = """
create table rows as select *, row_number() over () as row from '{events}';
create table first as
  select userId, movieId, rating::float as rating, timestamp, row from rows
  qualify row_number() over (partition by userId, movieId order by timestamp, row) = 1;
create table items as
  select row_number() over (order by n desc, movieId) as item_index, movieId, n
  from (select movieId, count(*) as n from first group by movieId);
create table users as select row_number() over (order by userId) as user_index, userId from (select distinct userId from first);
copy (
  select user_index, list(item_index order by timestamp, row) as items, list(rating order by timestamp, row) as ratings,
    list(timestamp order by timestamp, row) as timestamps
  from first join items using (movieId) join users using (userId) group by user_index order by user_index
) to '{output}/histories.parquet';
copy (select * from users order by user_index) to '{output}/users.parquet';
copy (select * from items order by item_index) to '{output}/items.parquet';
"""


def main(events: str, output: str) -> None:
    """Keeps each user's first event with an item, and indexes users by id and items by falling count."""
    connection = duckdb.connect()
    connection.execute(f"set temp_directory = '{output}/temporary'")
    connection.execute(SQL.format(events=events, output=output))
    print(connection.execute("select count(*) from first").fetchone()[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
