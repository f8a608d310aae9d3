"""An attempt's process: ``python -m syncline.jobs.attempt JOURNAL``, with the spec as JSON on its standard input.
Started by the process launcher."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from syncline.engine.events import Event
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.jobs.journal import Journal

__all__ = ["main", "run_here"]


def run_here(spec: AttemptSpec, journal: Journal, emit: EventSink | None = None) -> AttemptResult:
    """Run the attempt in this process; events go to the journal and to ``emit``."""

    def tell(event: Event) -> None:
        journal.emit(event)
        if emit is not None:
            emit(event)

    result = run_attempt(spec, tell, LocalExecutor)
    journal.write_result(result.to_json())
    return result


def main(arguments: list[str]) -> int:
    (journal_path,) = arguments
    spec = AttemptSpec.from_json(json.loads(sys.stdin.buffer.read()))
    journal = Journal(Path(journal_path))
    result = run_here(spec, journal)
    journal.close()
    return result.error.policy.exit_code if result.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
