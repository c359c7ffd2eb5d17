"""A run at work: the stages in order, run.json, how a process ends, publishing, retention."""
