"""Is the copy right? Compares source and destination by content, sharing no reading code with the sync."""

from syncline.verify.report import Difference, DifferingRange, VerifyReport
from syncline.verify.stream import verify_stream

__all__ = ["Difference", "DifferingRange", "VerifyReport", "verify_stream"]
