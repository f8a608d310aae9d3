"""Jobs of Syncline."""
