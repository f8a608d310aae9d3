"""What Syncline ships for tests of connectors and for its own: real servers, memory doubles, fail points, conformance.

Import the module that you need (``syncline.testing.postgres_server``); nothing is imported here, so that one part's
dependencies are not every part's.
"""

__all__: list[str] = []
