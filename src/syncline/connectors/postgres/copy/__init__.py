"""COPY BINARY: decoded into Arrow and encoded from it."""
