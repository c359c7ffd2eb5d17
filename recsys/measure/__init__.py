"""Measurement that knows no method: targets, ranking, metrics, intervals."""
