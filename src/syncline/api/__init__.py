"""Api of Syncline."""
