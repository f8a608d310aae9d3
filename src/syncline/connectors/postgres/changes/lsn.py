"""LSNs as the server prints them (``16/B374D848``) and as numbers."""

from __future__ import annotations

__all__ = ["lsn_from_text", "lsn_to_text"]


def lsn_from_text(text: str) -> int:
    """``"0/1A"`` -> 26. ValueError for anything else."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_to_text(lsn: int) -> str:
    """26 -> ``"0/1A"``."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
