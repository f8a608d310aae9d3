"""What Airbyte has no word for."""
