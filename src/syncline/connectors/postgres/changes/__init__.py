"""Changes by logical replication: received from a slot, kept in a spool on local disk, decoded into Arrow."""
