"""What the service answers when it cannot do what it is asked: one shape, one table of codes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal, get_args

from pydantic import BaseModel

from isoshare.space.errors import IsoshareError
from isoshare.storage.opening.database import BusyStudyError, StoreError, UnknownStudyError

Code = Literal[
    "wrong_request",
    "not_logged_in",
    "not_allowed",
    "not_found",
    "method_not_allowed",
    "conflict",
    "too_large",
    "invalid",
    "too_many_requests",
    "database_unavailable",
    "internal_error",
    "no_room",
]
STATUS: dict[Code, int] = dict(
    zip(get_args(Code), (400, 401, 403, 404, 405, 409, 413, 422, 429, 503, 500, 507), strict=True)
)
CODES: dict[int, Code] = {status: code for code, status in STATUS.items()}


WRONG: dict[type[Exception], Code] = {
    UnknownStudyError: "not_found",
    BusyStudyError: "conflict",
    StoreError: "database_unavailable",
    IsoshareError: "invalid",
}
"""What goes wrong below the service; the first that fits."""


def code_of(error: Exception) -> Code:
    """The code of an error of ours."""
    return next(code for kind, code in WRONG.items() if isinstance(error, kind))


class Detail(BaseModel):
    """One field of a request that is wrong."""

    field: str
    message: str


class ErrorBody(BaseModel):
    """code: for programs. message: a sentence for people, with the way out."""

    code: Code
    message: str
    details: list[Detail] = []


class ErrorAnswer(BaseModel):
    """What every request that fails is answered with."""

    error: ErrorBody


class Problem(Exception):  # noqa: N818  raised to be answered, not to be reported
    """A request that cannot be carried out, with the answer to it."""

    def __init__(
        self,
        code: Code,
        message: str,
        details: list[Detail] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = STATUS[code]
        self.headers = headers or {}
        self.answer = ErrorAnswer(
            error=ErrorBody(code=code, message=message, details=details or [])
        )


def documented(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """These errors for the OpenAPI description of a route."""
    return {
        STATUS[code]: {"model": ErrorAnswer, "description": HTTPStatus(STATUS[code]).phrase}
        for code in codes
    }
