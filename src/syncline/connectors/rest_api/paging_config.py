"""How an answer comes in pages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Discriminator, Field, model_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["CursorPages", "LinkHeaderPages", "NextUrlPages", "NumberedPages", "OffsetPages", "Pagination"]


class _Pages(ConnectorConfig):
    page_size: int | None = Field(default=None, ge=1, description="records asked for at once")
    size_parameter: str | None = Field(
        default="limit",
        validation_alias=AliasChoices("size_parameter", "limit_parameter", "page_size_parameter"),
        description="parameter that takes page_size; null sends none",
    )
    into: Literal["params", "body"] = Field(default="params", description="where these parameters go")
    resume: bool = Field(
        default=True,
        description="whether a broken-off reading goes on at its last page in the next attempt",
    )


class OffsetPages(_Pages):
    """``offset=200&limit=100``, until a page is empty."""

    type: Literal["offset"]
    page_size: int = Field(default=100, ge=1, description="records asked for at once")
    offset_parameter: str = Field(default="offset", description="parameter that says how many records to pass over")
    start: int = Field(default=0, ge=0, description="offset of the first record")
    total: str | None = Field(default=None, description="path in the answer to the number of all records")
    resume: bool = Field(
        default=False,
        description="go on at the last offset in the next attempt: only right where no record goes away in between",
    )


class NumberedPages(_Pages):
    """``page=2``, until a page is empty."""

    type: Literal["page"]
    size_parameter: str | None = Field(
        default="per_page",
        validation_alias=AliasChoices("size_parameter", "limit_parameter", "page_size_parameter"),
        description="parameter that takes page_size; null sends none",
    )
    page_parameter: str = Field(default="page", description="parameter that takes the page's number")
    start: int = Field(default=1, ge=0, description="number of the first page")
    total_pages: str | None = Field(default=None, description="path in the answer to the number of all pages")
    more: str | None = Field(default=None, description="path in the answer to what says whether there is another page")
    resume: bool = Field(
        default=False,
        description="go on at the last page in the next attempt: only right where no record goes away in between",
    )


class CursorPages(_Pages):
    """A token of the answer, or a field of its last record, names where the next page begins."""

    type: Literal["cursor"]
    cursor_path: str | None = Field(default=None, description="path in the answer to the next page's token")
    last_record: str | None = Field(default=None, description="or: field of the page's last record")
    cursor_parameter: str | None = Field(
        default="cursor", description="parameter that takes it; null where {after} stands in the request"
    )
    more: str | None = Field(default=None, description="path in the answer to what says whether there is another page")

    @model_validator(mode="after")
    def _one(self) -> CursorPages:
        if (self.cursor_path is None) == (self.last_record is None):
            raise ValueError("give cursor_path or last_record")
        return self


class LinkHeaderPages(_Pages):
    """The header ``Link: <…>; rel="next"``."""

    type: Literal["link_header"]
    size_parameter: str | None = Field(
        default="per_page",
        validation_alias=AliasChoices("size_parameter", "limit_parameter", "page_size_parameter"),
        description="parameter that takes page_size; null sends none",
    )


class NextUrlPages(_Pages):
    """The answer holds the next page's address."""

    type: Literal["next_url"]
    next: str = Field(
        default="next",
        validation_alias=AliasChoices("next", "path", "next_url"),
        description="path in the answer to the next page's address",
    )


def _spelling(value: Any) -> Any:
    if isinstance(value, str):
        value = {"type": value}
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        word = value["type"].lower().replace("-", "_").replace(" ", "_")
        known = {"page_number": "page", "link": "link_header", "header": "link_header", "next": "next_url"}
        return {**value, "type": known.get(word, word)}
    return value


Pagination = Annotated[
    Annotated[OffsetPages | NumberedPages | CursorPages | LinkHeaderPages | NextUrlPages, Discriminator("type")],
    BeforeValidator(_spelling),
]
