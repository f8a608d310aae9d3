"""Executors of Syncline."""
