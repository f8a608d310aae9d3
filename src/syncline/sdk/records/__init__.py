"""Records as JSON text, on their way to Arrow: what connectors whose sources speak JSON share."""

__all__: list[str] = []
