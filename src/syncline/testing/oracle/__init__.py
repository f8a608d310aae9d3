"""The oracle of change data capture: writers that do to a Postgres whatever can be done to it, and judges that compare
what arrived with what happened. Shares no code with what it judges.

``workload`` writes, ``commits`` remembers outside the database, ``content`` compares both ends when all is quiet,
``change_log`` judges a destination that keeps every change against ``witness``, a second consumer of the same log, and
``watch`` looks while everything runs.
"""

__all__: list[str] = []
