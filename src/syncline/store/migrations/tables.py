"""Every module that registers tables, for comparing what the migrations make with what the program expects."""

from __future__ import annotations

from syncline.store import alert_tables, job_tables, tables
from syncline.store.schema import metadata

__all__ = ["alert_tables", "job_tables", "metadata", "tables"]
