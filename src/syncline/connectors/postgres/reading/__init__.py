"""The source: what it reads, in which order, and how it says where it was."""
