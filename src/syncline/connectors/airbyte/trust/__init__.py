"""A folder for the path of connectors' processes; what is in it runs there, not here."""
