"""Input pipeline, hardware choice, optimisation and checkpoints."""
