"""How every answer leaves the debugger: with the headers that keep its page safe, errors as Segment writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def answer(content: bytes, media_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with content of a media type."""
    return Response(content, status, media_type=media_type, headers={**SECURITY, **(headers or {})})


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return answer(orjson.dumps(value), "application/json", status, headers)


async def error_answer(_: Request, error: Exception) -> Response:
    """Answer a refusal as Segment does, with the reason, which Segment does not give."""
    if not isinstance(error, HTTPException):  # starlette's signature is wider than what it hands over
        raise error
    return json_answer({"success": False, "message": error.detail}, error.status_code, error.headers)
