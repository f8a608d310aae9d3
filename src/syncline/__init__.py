"""Syncline replicates data: from databases and files into lakes, warehouses and databases, exactly once, provably."""

__all__ = ["__version__"]

__version__ = "0.1.0"
