"""Which Python codec reads a character set of MySQL. In the log a text has its column's bytes, not ours."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from syncline.connectors.mysql.connection import Session

__all__ = ["collations", "decoder_of"]

_CODECS = {
    "ascii": "utf-8",
    "big5": "big5hkscs",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "cp932": "cp932",
    "eucjpms": "euc_jp",
    "euckr": "euc_kr",
    "gb18030": "gb18030",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "latin1": "cp1252",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "macce": "mac_latin2",
    "macroman": "mac_roman",
    "sjis": "shift_jis",
    "tis620": "tis_620",
    "ucs2": "utf-16-be",
    "ujis": "euc_jp",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "utf8": "utf-8",
    "utf8mb3": "utf-8",
    "utf8mb4": "utf-8",
}


def _as_control(error: UnicodeError) -> tuple[str, int]:
    """MySQL's latin1 is Windows' code page, with the five bytes that this leaves open as control characters."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(map(chr, error.object[error.start : error.end])), error.end


codecs.register_error("mysql-latin1", _as_control)


def decoder_of(charset: str) -> Callable[[bytes], bytes] | None:
    """Makes UTF-8 of a text in this character set: the identity where it is UTF-8 already. None when it is unknown."""
    codec = _CODECS.get(charset)
    if codec is None:
        return None
    if codec == "utf-8":
        return bytes
    errors = "mysql-latin1" if charset == "latin1" else "strict"
    return lambda text: text.decode(codec, errors).encode()


def collations(session: Session) -> dict[int, str]:
    """Number of a collation -> its character set, as this server has them."""
    found = session.texts("SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL")
    numbers = {int(number): str(name) for number, name in found if number is not None and name is not None}
    if session.mariadb:
        # Newer collations belong to several character sets, and have a number in each.
        columns = {
            str(row[0]).lower()
            for row in session.texts(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'information_schema' "
                "AND table_name = 'COLLATION_CHARACTER_SET_APPLICABILITY'"
            )
        }
        if "id" in columns:
            more = session.texts(
                "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability"
            )
            numbers |= {int(number): str(name) for number, name in more if number is not None and name is not None}
    return numbers
