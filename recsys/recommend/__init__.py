"""Top-K scoring and the Parquet writer."""
