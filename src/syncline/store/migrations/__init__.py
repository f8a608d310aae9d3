"""Forward-only migrations of the store."""
