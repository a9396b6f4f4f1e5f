"""Other services, through Apprise; nothing else here imports it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import Unavailable
from orchestrator.notify.markup import hush
from orchestrator.notify.message import GREEN, RED, Message


class Apprise:
    """Addresses in Apprise's notation (`json://…`, `ntfy://…`).

    Args:
        urls: the addresses; they hold secrets.
        name: what the outbox calls this channel.
    """

    def __init__(self, urls: Sequence[str], name: str = "apprise") -> None:
        self.name = name
        self._urls = tuple(urls)

    def send(self, message: Message) -> str | None:
        """Send a message to every address.

        Raises:
            Unavailable: an address is not understood, or a service did not take it.
        """
        import apprise

        services = apprise.Apprise()
        for number, url in enumerate(self._urls, start=1):
            if not services.add(url):
                raise Unavailable(f"{self.name}: address {number} is not understood. Mend: see Apprise's notation.")
        kind = {RED: apprise.NotifyType.FAILURE, GREEN: apprise.NotifyType.SUCCESS}.get(message.color, apprise.NotifyType.INFO)
        sent = services.notify(
            body=hush(message.text), title=hush(message.subject), notify_type=kind, body_format=apprise.NotifyFormat.TEXT
        )
        if not sent:
            raise Unavailable(f"{self.name}: the service did not take the message")
        return None
