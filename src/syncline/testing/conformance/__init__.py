"""The conformance suite: the contracts of sources and destinations as tests that any connector can run.

A connector's test module subclasses :class:`~syncline.testing.conformance.destination.DestinationConformance`,
:class:`~syncline.testing.conformance.changes.ChangeConformance` (a destination that applies changes),
:class:`~syncline.testing.conformance.source.SourceConformance` or
:class:`~syncline.testing.conformance.feed.FeedConformance` (a source that is fed) and gives a ``driver``
fixture: how to open it on a fresh system, and how to look at the rows without its help. What a connector cannot do is
declared in the driver's ``gaps`` with the reason; a declared gap that works is a failure, so that the declaration goes
when the gap does.
"""

import pytest

pytest.register_assert_rewrite(
    "syncline.testing.conformance.changes",
    "syncline.testing.conformance.destination",
    "syncline.testing.conformance.feed",
    "syncline.testing.conformance.source",
)

from syncline.testing.conformance.changes import ChangeConformance  # noqa: E402
from syncline.testing.conformance.destination import DestinationConformance, DestinationDriver  # noqa: E402
from syncline.testing.conformance.feed import FeedConformance, FeedDriver  # noqa: E402
from syncline.testing.conformance.source import SourceConformance, SourceDriver  # noqa: E402

__all__ = [
    "ChangeConformance",
    "DestinationConformance",
    "DestinationDriver",
    "FeedConformance",
    "FeedDriver",
    "SourceConformance",
    "SourceDriver",
]
