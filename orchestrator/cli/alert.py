"""`orchestrator alert`: send, receiver."""

from __future__ import annotations

import click

from orchestrator.cli.client import Client, address, secret
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Table
from orchestrator.cli.session import Session, read_input

RECEIVER = """\
# For alertmanager.yml. `continue: true` keeps your pager's own route: the orchestrator is never the only path to a person.
route:
  routes:
    - receiver: orchestrator
      continue: true
      group_wait: 5s
receivers:
  - name: orchestrator
    webhook_configs:
      - url: {url}/alert
        send_resolved: true
        http_config:
          authorization:
            type: Bearer
            credentials: {token}
"""


@click.group(cls=Noun, no_args_is_help=True)
def alert() -> None:
    """Send alerts; print Alertmanager's receiver."""


@alert.command()
@click.argument("file")
@pass_session
def send(session: Session, file: str) -> int:
    r"""Send a webhook body (version 4) as Alertmanager would; FILE may be `-`.

    Exit code 1 where the server took it and rejected some of its alerts.

    \b
    Examples:
      orchestrator alert send alert.json
      generate-alert | orchestrator alert send -
    """
    body = read_input(file)
    settings = session.settings()
    with Client(address(settings), secret(settings, "webhook")) as client:
        answer = client.post("/alert", body)
    rows = [(item["id"], item["status"], "new" if item["created"] else "known", item["fingerprint"]) for item in answer["incidents"]]
    refused = [f"rejected: alert {item['index']}: {item['reason']}" for item in answer["rejected"]]
    session.show(answer, (Table(("incident", "status", "", "fingerprint"), rows, "No incident."), *refused))
    return 1 if refused else 0


@alert.command()
@pass_session
def receiver(session: Session) -> None:
    """Print a receiver to paste into alertmanager.yml, with the token in it."""
    settings = session.settings()
    token = secret(settings, "webhook")
    if not token:
        with session.orchestrator():  # building it makes the token on first use
            token = secret(settings, "webhook")
    url = settings.server.public_url or address(settings)
    text = RECEIVER.format(url=url.rstrip("/"), token=token)
    if session.json:
        session.show({"url": f"{url.rstrip('/')}/alert", "token": token, "yaml": text})
    else:
        print(text, end="")  # to be pasted: no wrapping
