"""Tells people what needs them: rules over runs, one open alert per rule and connection, messages to any channel."""
