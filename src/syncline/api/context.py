"""Who asks, and what answers: the two things that every handler takes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from syncline.api.errors import ApiError
from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import auth
from syncline.service.callers import Caller
from syncline.service.control import Control

__all__ = ["CallerOf", "ControlOf", "address_of", "control_of", "refused_login"]


async def control_of(request: Request) -> Control:
    """What ``create_app`` was given."""
    control: Control = request.app.state.control
    return control


async def caller_of(request: Request, control: Annotated[Control, Depends(control_of)]) -> Caller:
    """The caller by the Authorization header; 401 for a missing, wrong or expired one. Without authentication whatever
    the header says is ignored: Prefect always sends one, and Terraform an empty one."""
    header = request.headers.get("authorization")
    address = address_of(request)
    recent = auth.recent_caller(control, header, address=address)
    if recent is not None:
        return recent
    try:
        return await run_in_threadpool(auth.authenticate, control, header, address=address)
    except SynclineError as error:
        raise refused_login(error) from error


def refused_login(error: SynclineError) -> Exception:
    """401 for wrong credentials. Of all errors of that kind only these are about the caller: a database's refusal has
    the same kind, and must not make clients drop their token."""
    if error.kind is not ErrorKind.AUTH:
        return error
    detail = f"{error.message}. {error.hint}" if error.hint else error.message
    return ApiError(401, detail, headers={"WWW-Authenticate": 'Bearer, Basic realm="Syncline", charset="UTF-8"'})


def address_of(request: Request) -> str:
    """The peer's address, for rate limits and the audit log."""
    return request.client.host if request.client else ""


ControlOf = Annotated[Control, Depends(control_of)]
CallerOf = Annotated[Caller, Depends(caller_of)]
