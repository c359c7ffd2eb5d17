"""The Spark runtime: Java, memory, the session, the child process, files in object stores."""
