"""Opening a session: values come as the bytes that the server sends, in UTC and UTF-8, whatever its defaults are."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pymysql
from pydantic import SecretStr
from pymysql.cursors import SSCursor

from syncline.connectors.mysql.config import MySqlSourceConfig, TlsConfig
from syncline.connectors.mysql.errors import mysql_error
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Session", "open_session"]

_CONNECT_SECONDS = 15
#: A server that says nothing for so long while rows are read is not there any more.
_READ_SECONDS = 600

Row = tuple[bytes | None, ...]


class Session:
    """One connection. Values are bytes or None. Errors are ours."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def rows(self, statement: str, *, stream: str | None = None) -> list[Row]:
        """All rows of a small result."""
        try:
            with self.driver.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall() or ())
        except (pymysql.err.Error, OSError) as error:
            raise mysql_error(error, stream=stream) from error

    def texts(self, statement: str, *, stream: str | None = None) -> list[tuple[str | None, ...]]:
        """As :meth:`rows`, decoded."""
        found = self.rows(statement, stream=stream)
        return [tuple(None if v is None else v.decode("utf-8", "replace") for v in row) for row in found]

    def do(self, *statements: str) -> None:
        for statement in statements:
            self.rows(statement)

    @contextmanager
    def stream(self, statement: str, *, stream: str | None = None) -> Iterator[SSCursor]:
        """A result that is read as it comes; leaving the block early closes the whole session, because the server
        would send the rest."""
        cursor = self.driver.cursor(SSCursor)
        try:
            cursor.execute(statement)
            yield cursor
        except (pymysql.err.Error, OSError) as error:
            self.close()
            raise mysql_error(error, stream=stream) from error
        except BaseException:
            self.close()
            raise

    def variables(self, names: Sequence[str]) -> dict[str, str]:
        """The server's global variables of these names; those that it does not have are left out."""
        wanted = ", ".join(f"'{name}'" for name in names)
        found = self.texts(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})")
        return {str(name).lower(): str(value) for name, value in found}

    @property
    def version(self) -> str:
        # MariaDB puts an old version of MySQL before its own, for clients that compare.
        return str(self.driver.get_server_info()).removeprefix("5.5.5-")

    @property
    def mariadb(self) -> bool:
        return "mariadb" in self.version.lower()

    def close(self) -> None:
        """At once, without a farewell that would wait for unread rows."""
        self.driver._force_close()


def open_session(config: MySqlSourceConfig, *, database: bool = True) -> Session:
    """Connect. Raises ``unreachable``, ``auth`` and so on."""
    try:
        driver = pymysql.connect(
            host=config.host,
            port=config.port,
            user=config.username,
            password=config.password.get_secret_value(),
            database=config.database if database else None,
            charset="utf8mb4",
            use_unicode=False,  # bytes as they come, converted by column
            conv=cast(Any, {}),
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            autocommit=True,
            program_name="syncline",
            **_tls(config.ssl_mode),
        )
    except (pymysql.err.Error, OSError) as error:
        raise mysql_error(error) from error
    session = Session(driver)
    try:
        # Modes that would change how values or identifiers read are off; the session is ours alone.
        session.do(
            "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'",
            "SET SESSION time_zone = '+00:00'",
            "SET SESSION net_write_timeout = 600",
        )
    except BaseException:
        session.close()
        raise
    return session


def _tls(config: TlsConfig) -> dict[str, Any]:
    if config.mode == "disabled":
        return {"ssl_disabled": True}
    if config.mode == "preferred":
        return {}  # the driver takes it when the server has it
    try:
        with _as_file(config.ca_certificate) as authority:
            context = ssl.create_default_context(cafile=authority)
        context.check_hostname = config.mode == "verify_identity"
        context.verify_mode = ssl.CERT_NONE if config.mode == "required" else ssl.CERT_REQUIRED
        with _as_file(config.client_certificate) as certificate, _as_file(config.client_key) as key:
            if certificate is not None:
                password = config.client_key_password
                context.load_cert_chain(certificate, key, password.get_secret_value() if password else None)
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the certificates of ssl_mode cannot be used: {error}",
            hint="give PEM text, or the path of a file that holds it",
            where={"connector": "mysql"},
        ) from error
    return {"ssl": context}


@contextmanager
def _as_file(given: SecretStr | None) -> Iterator[str | None]:
    """A path, where PEM text was given one of a file that only this user can read, while it is needed."""
    text = given.get_secret_value() if given is not None else None
    if text is None or not text.lstrip().startswith("-----BEGIN"):
        yield text
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # 0600
        file.write(text)
        file.flush()
        yield file.name
