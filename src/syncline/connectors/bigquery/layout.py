"""How tables that we make are partitioned and clustered, so that a MERGE need not read all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.cloud import bigquery as bq

from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.names import quote, quoted_list
from syncline.connectors.bigquery.types import CLUSTERED
from syncline.core.checkpoint import StreamTarget

__all__ = ["Layout", "layout_from", "layout_of"]

_EXTRACTED_AT = ("_syncline_extracted_at", "_airbyte_extracted_at")
#: BigQuery takes 10,000 partitions of a table, and modifies 4,000 of them in one job.
_PARTITIONS = 4_000
_MOST_CLUSTERED = 4


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``day``: the column whose days are partitions. ``ranges``: the column whose ranges of ``size`` up to
    ``end`` are. ``cluster``: columns by which rows are ordered within."""

    day: str | None = None
    ranges: str | None = None
    size: int = 0
    end: int = 0
    cluster: tuple[str, ...] = ()

    def apply(self, table: bq.Table) -> None:
        """To a table that is about to be made."""
        if self.day is not None:
            table.time_partitioning = bq.TimePartitioning(field=self.day)
        if self.ranges is not None:
            span = bq.PartitionRange(start=0, end=self.end, interval=self.size)
            table.range_partitioning = bq.RangePartitioning(span, field=self.ranges)
        if self.cluster:
            table.clustering_fields = list(self.cluster)

    @property
    def clauses(self) -> str:
        """For CREATE TABLE … AS."""
        out = []
        if self.day is not None:
            out.append(f"PARTITION BY TIMESTAMP_TRUNC({quote(self.day)}, DAY)")
        if self.ranges is not None:
            array = f"GENERATE_ARRAY(0, {self.end}, {self.size})"
            out.append(f"PARTITION BY RANGE_BUCKET({quote(self.ranges)}, {array})")
        if self.cluster:
            out.append(f"CLUSTER BY {quoted_list(self.cluster)}")
        return "\n".join(out)


def layout_from(table: bq.Table) -> Layout:
    """The layout of a table that we made."""
    time, ranges = table.time_partitioning, table.range_partitioning
    return Layout(
        day=None if time is None else time.field,
        ranges=None if ranges is None else ranges.field,
        size=0 if ranges is None else int(ranges.range_.interval),
        end=0 if ranges is None else int(ranges.range_.end),
        cluster=tuple(table.clustering_fields or ()),
    )


def layout_of(
    config: BigqueryDestinationConfig, target: StreamTarget, names: Mapping[str, str], types: Mapping[str, str]
) -> Layout:
    """The layout that the configuration asks for, as far as the stream has the columns for it."""
    extracted_at = next((names[n] for n in _EXTRACTED_AT if n in names), None)
    key = [n for n in target.primary_key if types[n] in CLUSTERED]
    cluster = [names[n] for n in key]
    if extracted_at is not None:
        cluster.append(extracted_at)
    day = extracted_at if config.partitioning == "extracted_at" else None
    whole = config.partitioning == "key" and bool(target.primary_key) and types[target.primary_key[0]] == "INT64"
    return Layout(
        day=day,
        ranges=names[target.primary_key[0]] if whole else None,
        size=config.key_partition_size,
        end=config.key_partition_size * _PARTITIONS,
        cluster=tuple(cluster[:_MOST_CLUSTERED]),
    )
