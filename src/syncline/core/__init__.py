"""Floor 0: the vocabulary. Standard library and pyarrow only; import from the modules."""

__all__: list[str] = []
