"""Store of Syncline."""
