"""The Spark stage: source tables in, histories and encoded features out, in a process of its own."""
