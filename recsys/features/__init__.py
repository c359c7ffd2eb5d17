"""The features stage: what Spark does to the data."""
