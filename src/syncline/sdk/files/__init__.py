"""Objects under keys, in a folder or in S3, and the log of manifests that makes their commits atomic."""

__all__: list[str] = []
