"""Service of Syncline."""
