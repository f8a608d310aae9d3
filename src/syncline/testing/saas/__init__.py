"""Local counterparts of services that are reached over HTTP: small servers that answer as the services' public API
documentation says. They are no proof of how the services really behave."""

__all__: list[str] = []
