"""The link in a mail: it names an approval and an addressee, signed and with an end. It opens a page and never answers anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from itsdangerous import BadData, URLSafeSerializer

_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says."""

    approval: str
    receiver: str
    """The address that the mail went to."""
    until: datetime
    name: str
    """The same for every use of this link; tells nothing of what is in it."""


class Links:
    """Makes and reads links.

    Args:
        key: returns the secret that signs them.
        public_url: where people reach the pages.
    """

    def __init__(self, key: Callable[[], bytes], public_url: str) -> None:
        self._key, self._base = key, public_url.rstrip("/")

    def make(self, approval: str, receiver: str, until: datetime) -> str:
        """Return the address for one receiver of a mail about an approval."""
        token = self._serializer().dumps([approval, receiver, int(until.timestamp())])
        return f"{self._base}/mail/{token}"

    def read(self, token: str) -> Link | None:
        """Return what a link's token says, None where we did not make it; whether it is too old is for the caller's clock."""
        if len(token) > _LONGEST:
            return None
        try:
            approval, receiver, until = self._serializer().loads(token)
            end = datetime.fromtimestamp(until, UTC)
        except (BadData, ValueError, TypeError, OverflowError, OSError):
            return None
        return Link(str(approval), str(receiver), end, hashlib.sha256(token.encode()).hexdigest()[:32])

    def _serializer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self._key(), salt="mail-link", signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"})
