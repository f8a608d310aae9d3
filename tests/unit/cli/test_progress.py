"""The lines of a run that has no terminal."""

from __future__ import annotations

import pytest

from syncline.cli.progress import make_progress
from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.events import StreamFinished


@pytest.mark.parametrize("follow", [True, False])
def test_a_stream_that_fails_while_others_flow_says_why(follow: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """A run that ends says so once, at its end."""
    error = SynclineError(ErrorKind.SCHEMA, "a column was added with values that nobody holds", hint="reset it")
    with make_progress("shop", quiet=False, debug=False, follow=follow) as tell:
        tell(
            StreamFinished(
                stream="public.shapes",
                status="failed",
                rows_read=0,
                rows_written=0,
                rows_quarantined=0,
                bytes_read=0,
                seconds=0.0,
                error=error.to_json(),
            )
        )
    said = capfd.readouterr().err
    assert "public.shapes: failed after 0.0 s" in said
    assert ("a column was added with values that nobody holds" in said) is follow
