"""Where references to secrets outside lead. Each is asked in the process that opens the connector, and only there."""
