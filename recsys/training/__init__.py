"""Training: input pipeline, choice of hardware, optimisation, checkpoints."""
