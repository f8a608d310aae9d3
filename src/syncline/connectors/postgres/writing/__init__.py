"""The destination: tables, stages, merging, publishing and the ledger."""
