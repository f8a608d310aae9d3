"""Connectors of Syncline."""
