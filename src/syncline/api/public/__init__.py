"""Airbyte's public API."""
