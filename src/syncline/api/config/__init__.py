"""Airbyte's config API."""
