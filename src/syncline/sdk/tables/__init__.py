"""Tables made of Parquet files and a log of their own (Delta Lake, Iceberg): everything that their destinations share.

A format brings a :class:`~syncline.sdk.tables.table.Table`: how to read the newest state of one table and how to commit
a change to it by compare-and-set. The rest is here: stages, the ledger inside the table's own commits, merging by
rewriting the files that it must, following the columns of the source, compaction.
"""

__all__: list[str] = []
