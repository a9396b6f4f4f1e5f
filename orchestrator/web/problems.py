"""Every error as an answer: RFC 9457 problem+json for programs, a page for people.

Source: RFC 9457, Problem Details for HTTP APIs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, render_template, request
from werkzeug.exceptions import HTTPException

from orchestrator import errors

RETRY_AFTER_S = 5
"""What a caller is told to wait for when we cannot serve now."""

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.NotJson, 400),
    (errors.NotAWebhook, 422),
    (errors.InvalidRequest, 422),
    (errors.TooLarge, 413),
    (errors.UsageError, 400),
    (errors.NotAuthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Expired, 410),
    (errors.CatalogueError, 409),
    (errors.InventoryError, 409),
    (errors.Unavailable, 503),
)
"""The first class that fits decides."""

_PROGRAM_PATHS = ("/api/", "/alert", "/slack/", "/healthz", "/readyz", "/metrics", "/openapi.json")

_MENDS = {
    401: "Log in, or send an Authorization: Bearer header.",
    403: "Ask an admin for the right role, or go back.",
    404: "Check the address, or look for it on the overview.",
    409: "Reload the page to see what has changed.",
    410: "Retry the incident for a new question.",
    429: "Wait a minute, then try again.",
    503: "Wait a moment, then try again.",
}


def status_of(error: Exception) -> int:
    """Return the HTTP status of one of our errors; 500 where none is meant."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(status: int, detail: str, **members: Any) -> Response:
    """Return a problem document.

    Args:
        status: HTTP status, 400–599.
        detail: what is wrong, for a person.
        members: extension members, JSON values.
    """
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}
    answer = Response(json.dumps(document), status, mimetype="application/problem+json")
    if status in (429, 503):
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="orchestrator"'
    return answer


def for_person() -> bool:
    """Return whether a person's browser asks for a page, so that an error should be one too."""
    return not request.path.startswith(_PROGRAM_PATHS) and request.accept_mimetypes.quality("text/html") > request.accept_mimetypes.quality(
        "application/problem+json"
    )


def failed(status: int, detail: str, headers: Mapping[str, str] | None = None, members: Mapping[str, Any] | None = None) -> Response:
    """Return the error as a page or as a problem document, whichever the caller reads."""
    answer = problem(status, detail, **(members or {}))
    if for_person():
        page = render_template("error.html", status=status, title=HTTPStatus(status).phrase, detail=detail, mend=_MENDS.get(status, ""))
        answer.set_data(page.encode("utf-8", "replace"))
        answer.mimetype = "text/html"
    answer.headers.update(headers or {})
    return answer


def register(app: Flask) -> None:
    """Hang the error handlers on `app`."""
    app.register_error_handler(errors.OrchestratorError, _ours)
    app.register_error_handler(HTTPException, _flasks)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: errors.OrchestratorError) -> Response:
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        current_app.logger.error("%s %s: %s", request.method, request.path, error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return failed(status, "The server failed at this request; its log says why.")
    return failed(status, str(error) or HTTPStatus(status).phrase, members=getattr(error, "members", None))


def _flasks(error: HTTPException) -> Any:
    status = error.code or 500
    if status < HTTPStatus.BAD_REQUEST or status not in set(HTTPStatus):
        return error
    allowed = dict(error.get_headers()).get("Allow")
    detail = error.description or HTTPStatus(status).phrase
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = f"The body is over the limit of {current_app.config['MAX_CONTENT_LENGTH']} bytes (server.max_body_bytes)."
    return failed(status, detail, {"Allow": allowed} if allowed else None)


def _too_deep(_error: RecursionError) -> Response:
    return failed(400, "The body is nested too deeply.")


def _unexpected(error: Exception) -> Response:
    current_app.logger.error("%s %s failed", request.method, request.path, exc_info=error)
    # The page around the error must not ask for what may just have failed.
    g.pop("actor", None)
    return failed(500, "The server failed at this request; its log says why.")
