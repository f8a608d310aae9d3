"""One reading of a source for the runs of several destinations."""
