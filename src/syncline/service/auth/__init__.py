"""Who is calling: passwords, client credentials, tokens and API keys."""

from syncline.service.auth.binding import check_bind
from syncline.service.auth.entry import Token, authenticate, exchange, login, recent_caller

__all__ = ["Token", "authenticate", "check_bind", "exchange", "login", "recent_caller"]
