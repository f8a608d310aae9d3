"""Quality gates: rules that a stream's rows must keep before they become visible."""
