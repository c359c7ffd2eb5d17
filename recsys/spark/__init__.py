"""The Spark runtime: Java, memory, session, child process, executors, and files in object stores."""
