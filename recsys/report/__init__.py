"""The report of a run: gathers what the run's folder tells, draws it, and writes report.html and MODEL_CARD.md."""
