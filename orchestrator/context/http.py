"""JSON over HTTP from a monitoring server: bounded in size and time, every failure one kind of error."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from orchestrator.errors import SourceUnavailable

MAX_BYTES = 8 * 1024 * 1024
"""Longest answer that is read."""


class JsonApi:
    """A server that answers with JSON.

    Args:
        name: what it is called in messages.
        url: address without the path, from the settings only.
        token: sent as bearer token; empty: none.
        timeout_s: time for connecting, for each read, and for reading the whole.
        max_bytes: longest answer that is read.
    """

    def __init__(self, name: str, url: str, *, token: str = "", timeout_s: float = 5.0, max_bytes: int = MAX_BYTES) -> None:
        self._url = url.rstrip("/")
        self._token, self._timeout_s, self._max_bytes = token, timeout_s, max_bytes
        parts = urlsplit(self._url)
        self._name = f"{name} at {parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that a GET answers."""
        return self.call("GET", path, params=params)

    def call(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, form: Any = None) -> Any:
        """Return the JSON that a call answers, None for an empty answer.

        Args:
            method: HTTP method.
            path: path with its leading slash.
            params: query string.
            body: sent as JSON.
            form: sent as a form.

        Raises:
            SourceUnavailable: no connection, time-out, an answer that is no success, no JSON, or too long.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            with requests.request(
                method,
                self._url + path,
                params=params,
                json=body,
                data=form,
                auth=self._authenticate,
                timeout=self._timeout_s,
                stream=True,
                allow_redirects=False,
            ) as response:
                content = self._read(response, deadline)
                return self._parse(response, content)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceUnavailable(f"{self._name} did not answer: {type(error).__name__}.") from error
        except (ValueError, RecursionError) as error:
            raise SourceUnavailable(f"{self._name} did not answer with JSON.") from error

    def failure(self, what: str) -> SourceUnavailable:
        """Return the error for an answer that cannot be used."""
        return SourceUnavailable(f"{self._name}: {what}")

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # An own function, also without a token: requests would else take credentials from ~/.netrc.
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        content = bytearray()
        # `read1` returns what has come; `iter_content` would wait for a whole piece, however slowly it drips in.
        while chunk := response.raw.read1(1 << 16, decode_content=True):
            content += chunk
            if len(content) > self._max_bytes:
                raise self.failure(f"its answer is longer than {self._max_bytes} bytes.")
            if time.monotonic() > deadline:
                raise self.failure(f"its answer took longer than {self._timeout_s:g} s.")
        return bytes(content)

    def _parse(self, response: requests.Response, content: bytes) -> Any:
        if not 200 <= response.status_code < 300:  # noqa: PLR2004 - the class of success
            raise self.failure(f"answered {response.status_code}: {_problem(content)}")
        return json.loads(content) if content.strip() else None


def _problem(content: bytes) -> str:
    """Return what an error's body says, in one short line."""
    try:
        value = json.loads(content)
    except ValueError:
        value = content.decode(errors="replace")
    if isinstance(value, dict):
        value = value.get("error") or value.get("message") or ""
    return " ".join(str(value).split())[:300]
