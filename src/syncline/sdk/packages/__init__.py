"""Connectors that are packages of their own: which there are, and installing them."""

__all__: list[str] = []
