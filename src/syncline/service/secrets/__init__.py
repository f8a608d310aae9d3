"""Secrets at rest: sealed by keys of their own, which are sealed by the server's key; masked in every answer."""

from syncline.service.secrets.box import SecretBox
from syncline.service.secrets.masking import MASK

__all__ = ["MASK", "SecretBox"]
