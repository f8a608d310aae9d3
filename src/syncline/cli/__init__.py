"""Cli of Syncline."""
