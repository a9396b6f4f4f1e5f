"""Telling people: an audit event becomes a message, and channels carry it.

`render` makes the message, `channels` builds what the settings name, and a caller's outbox sends with `backoff_s` between attempts.
Messages carry a summary and a link; a diff's body stays on the page behind the login.
"""

from orchestrator.notify.channels import Channel, backoff_s, channels, retry_after_s, wanted
from orchestrator.notify.message import Action, Message, render

__all__ = ["Action", "Channel", "Message", "backoff_s", "channels", "render", "retry_after_s", "wanted"]
