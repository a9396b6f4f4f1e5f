"""An audit event as a sentence for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Data = Mapping[str, Any]
LONGEST: Final = 200
"""Characters of one sentence."""


def sentence(event: Mapping[str, Any]) -> str:
    """Return what an event of the API says, in one line; an empty string where its data is redacted or unknown."""
    data = event.get("data") or {}
    teller = TELLERS.get(event["kind"], _others)
    text = " ".join(teller(data).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def pairs(values: Data) -> str:
    """Return parameters as `name=value`, with commas between."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _alert(data: Data) -> str:
    labels = data.get("labels") or {}
    return f"{labels.get('alertname', data.get('alertname', 'alert'))} is {data.get('status', 'firing')}" + (
        f" on {labels['instance']}" if labels.get("instance") else ""
    )


def _context(data: Data) -> str:
    found = [piece["title"] for piece in data.get("evidence", ())]
    missing = [piece["source"] for piece in data.get("missing", ())]
    return (f"{len(found)} pieces of evidence: {', '.join(found)}" if found else "no evidence") + (
        f"; nothing from {', '.join(missing)}" if missing else ""
    )


def _decision(data: Data) -> str:
    return str(data.get("summary", ""))


def _policy(data: Data) -> str:
    reasons = ", ".join(data.get("reasons", ()))
    failed = [f"{guard['name']}: {guard['detail']}" for guard in data.get("guards", ()) if not guard["ok"]]
    return f"{data.get('effect')}" + (f" ({reasons})" if reasons else "") + (f"; {'; '.join(failed)}" if failed else "")


def _asked(data: Data) -> str:
    return (
        f"{data.get('entry')} on {', '.join(data.get('hosts', ()))} needs {data.get('need', 1)} yes: {', '.join(data.get('reasons', ()))}"
    )


def _answered(data: Data) -> str:
    return f"{'yes' if data.get('approve') else 'no'}" + (f": {data['reason']}" if data.get("reason") else "")


def _intent(data: Data) -> str:
    values = pairs(data.get("parameters") or {})
    return f"{data.get('entry')} on {', '.join(data.get('hosts', ()))}" + (f" with {values}" if values else "")


def _started(data: Data) -> str:
    return f"run {data.get('run', '')} on {data.get('node', 'this machine')}"


def _ended(data: Data) -> str:
    message = f": {data['message']}" if data.get("message") else ""
    return f"{data.get('outcome') or data.get('state')}, {data.get('changed', 0)} changed{message}"


def _verified(data: Data) -> str:
    checks = [f"{check['name']} {({True: 'holds', False: 'fails', None: 'unknown'})[check['ok']]}" for check in data.get("checks", ())]
    return f"{data.get('health')}: {data.get('detail') or '; '.join(checks)}"


def _status(data: Data) -> str:
    reason = f" ({data['reason']})" if data.get("reason") else ""
    return f"{data.get('to')}{reason}: {data.get('detail', '')}"


def _others(data: Data) -> str:
    return "; ".join(f"{name}={value}" for name, value in data.items() if isinstance(value, str | int | float) and value not in ("", None))


def _chosen(data: Data) -> str:
    return f"{data.get('entry')} on {', '.join(data.get('hosts', ()))} instead of {data.get('instead_of')}"


def _minted(data: Data) -> str:
    return f"run {data.get('number')} of {data.get('most')} of standing grant {data.get('grant')}, given by {', '.join(data.get('by', ()))}"


def _handed(data: Data) -> str:
    return f"to {data.get('to')}: {data.get('reason', '')}"


def _put_off(data: Data) -> str:
    return f"until {data.get('until')}" + (f": {data['reason']}" if data.get("reason") else "")


def _noted(data: Data) -> str:
    return str(data.get("text", ""))


TELLERS: Final[Mapping[str, Callable[[Data], str]]] = {
    "alert.received": _alert,
    "context.gathered": _context,
    "decision.made": _decision,
    "policy.judged": _policy,
    "approval.asked": _asked,
    "approval.answered": _answered,
    "proposal.chosen": _chosen,
    "standing.minted": _minted,
    "approval.escalated": _handed,
    "approval.snoozed": _put_off,
    "incident.noted": _noted,
    "run.intent": _intent,
    "run.started": _started,
    "run.ended": _ended,
    "verification.done": _verified,
    "incident.status": _status,
}
