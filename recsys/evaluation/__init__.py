"""Every method on the same test events: the comparison, metrics.json, the report."""
