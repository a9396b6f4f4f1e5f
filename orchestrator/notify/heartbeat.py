"""The outgoing heartbeat: a watcher elsewhere raises the alarm when it stays away."""

from __future__ import annotations

import requests

from orchestrator.errors import Unavailable

TIMEOUT_S = 10.0


def beat(url: str, timeout_s: float = TIMEOUT_S) -> None:
    """Tell the watcher that all is well: a POST without a body, as healthchecks.io, Uptime Kuma and Dead Man's Snitch take it.

    Args:
        url: the watcher's address, which is a secret: whoever has it can keep the alarm quiet.
        timeout_s: seconds to wait for each part of the answer.

    Raises:
        Unavailable: the watcher did not take it; the words never hold the address.
    """
    try:
        with requests.post(url, timeout=timeout_s, allow_redirects=False) as answer:
            status = answer.status_code
    except requests.RequestException as error:
        raise Unavailable(f"the heartbeat's watcher does not answer ({type(error).__name__})") from None
    if not requests.codes.ok <= status < requests.codes.multiple_choices:
        raise Unavailable(f"the heartbeat's watcher answered {status}")
