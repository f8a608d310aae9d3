"""Engine of Syncline."""
