"""Declarations: a workspace's sources, destinations and connections as one document, applied to a server."""
