"""Measurement: metrics over all items, the protocol, the traditional methods beside the model, intervals and the report."""
