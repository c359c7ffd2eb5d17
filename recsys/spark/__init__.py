"""The Spark runtime: Java, memory, session, child process, executors."""
