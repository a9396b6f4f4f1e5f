"""A client of the running server: JSON over HTTP, errors turned back into ours."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from orchestrator import errors

if TYPE_CHECKING:
    from orchestrator.settings import Settings

BY_STATUS: Final[Mapping[int, type[errors.OrchestratorError]]] = {
    400: errors.UsageError,
    401: errors.NotAuthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Expired,
    413: errors.TooLarge,
    422: errors.InvalidRequest,
    503: errors.StoreUnavailable,
}
MENDS: Final[Mapping[int, str]] = {
    401: " Mend: set ORCHESTRATOR_TOKEN to a token of `orchestrator token create`, or run this as the server's user.",
    403: " Mend: use a token or a user with the role that this needs.",
}
TIMEOUT_S: Final = 30.0


def address(settings: Settings) -> str:
    """Return the server's address: `ORCHESTRATOR_URL`, else what the server wrote when it listened, else host and port."""
    named = os.environ.get("ORCHESTRATOR_URL", "")
    if named:
        return named.rstrip("/")
    written = _read(Path(settings.data_dir) / "server.url")
    return (written or f"http://{settings.server.host}:{settings.server.port}").rstrip("/")


def secret(settings: Settings, name: str) -> str:
    """Return a bearer token: `ORCHESTRATOR_TOKEN`, else the one in the data folder's `<name>.token`, else an empty string."""
    named = os.environ.get("ORCHESTRATOR_TOKEN", "")
    if named:
        return named
    if name == "webhook" and settings.server.webhook_token.get_secret_value():
        return settings.server.webhook_token.get_secret_value()
    return _read(Path(settings.data_dir) / f"{name}.token")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class Client:
    """Calls of one server.

    Args:
        url: its address, without a trailing slash.
        token: bearer token; empty: none is sent.
        timeout_s: time for one call.
    """

    def __init__(self, url: str, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        import requests

        self.url = url
        self.timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # a token is never handed to a proxy or replaced by .netrc
        self._session.headers["Accept"] = "application/json"
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ignored: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a GET; parameters that are empty or None are left out.

        Raises:
            ServerUnreachable: nobody answers there.
            OrchestratorError: the server refused; the error that it told.
        """
        return self._call("GET", path, params={name: value for name, value in query.items() if value not in (None, "", (), [])})

    def post(self, path: str, body: Mapping[str, Any] | bytes | None = None) -> Any:
        """Return the JSON of a POST of `body`: a mapping is sent as JSON, bytes as they are.

        Raises:
            ServerUnreachable: nobody answers there.
            OrchestratorError: the server refused; the error that it told.
        """
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        return self._call("POST", path, data=data, headers={"Content-Type": "application/json"})

    def delete(self, path: str, **query: Any) -> Any:
        """Return the JSON of a DELETE; parameters that are empty or None are left out.

        Raises:
            ServerUnreachable: nobody answers there.
            OrchestratorError: the server refused; the error that it told.
        """
        return self._call("DELETE", path, params={name: value for name, value in query.items() if value not in (None, "", (), [])})

    def items(self, path: str, most: int, **query: Any) -> list[dict[str, Any]]:
        """Return up to `most` items of a list, page after page."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < most:
            page = self.get(path, limit=min(most - len(found), 1000), cursor=cursor, **query)
            found.extend(page["items"])
            cursor = page.get("next")
            if not cursor:
                break
        return found[:most]

    def events(self, run: str, pause_s: float = 0.5, *, follow: bool = True) -> Iterator[dict[str, Any]]:
        """Yield the events of a run until it has ended; without `follow` those that are there."""
        after = 0
        while True:
            ended = self.get(f"/api/v1/runs/{segment(run)}")["state"] in ("done", "unknown")
            items = self.get(f"/api/v1/runs/{segment(run)}/events", after=after)["items"]
            for item in items:
                after = max(after, int(item["seq"]))
                yield item
            if not items and (ended or not follow):
                return
            if not items:
                time.sleep(pause_s)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        import requests

        try:
            response = self._session.request(method, self.url + path, timeout=self.timeout_s, allow_redirects=False, **options)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise errors.ServerUnreachable(
                f"no server answers at {self.url}. Mend: start it with `orchestrator serve`, or set ORCHESTRATOR_URL."
            ) from error
        except requests.RequestException as error:
            raise errors.UsageError(f"{self.url}: {type(error).__name__}. Mend: set ORCHESTRATOR_URL to http://HOST:PORT.") from error
        if not HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
            raise _refusal(response.status_code, response.text)
        try:
            return response.json()
        except ValueError as error:
            raise errors.ServerUnreachable(f"{self.url} does not answer like the orchestrator. Mend: check ORCHESTRATOR_URL.") from error


def _refusal(status: int, text: str) -> errors.OrchestratorError:
    """Return the error that a `problem+json` answer tells.

    Source: RFC 9457.
    """
    try:
        problem = json.loads(text)
        detail = str(problem.get("detail") or problem.get("title") or status)
    except (ValueError, AttributeError):
        detail = f"the server answered {status}"
    kind = BY_STATUS.get(status, errors.OrchestratorError)
    return kind(detail + ("" if "Mend:" in detail else MENDS.get(status, "")))


def segment(name: str) -> str:
    """Return `name` as one segment of a path."""
    return quote(name, safe=":")
