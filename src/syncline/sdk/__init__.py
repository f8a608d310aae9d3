"""Floor 1: what a connector author sees; import from the modules."""

__all__: list[str] = []
