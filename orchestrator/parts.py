"""Settings → the parts that are built once: clients, inventory, executor, model, channels."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from orchestrator.context import Source
from orchestrator.context.alertmanager import Alertmanager
from orchestrator.context.history import History
from orchestrator.context.infra import HostLogs, HostState
from orchestrator.context.loki import Loki
from orchestrator.context.metrics import ActiveAlerts, Metrics
from orchestrator.context.prometheus import Prometheus
from orchestrator.context.redact import Redactor
from orchestrator.data_folder import DataFolder
from orchestrator.decide import Model
from orchestrator.errors import InventoryError, SettingsError
from orchestrator.execute import Executor
from orchestrator.inventory import InventoryCache
from orchestrator.model import Alert, IncidentSummary, Run
from orchestrator.notify.channels import Channel, channels
from orchestrator.notify.links import Links
from orchestrator.settings import Section, Settings

RunPlay = Callable[[str, Mapping[str, Any], tuple[str, ...]], Run]
Past = Callable[[Alert], list[IncidentSummary]]

FRESH_S = 1.0
"""How long monitoring's list of what fires may confirm an alert: in a storm it is long, and every incident asks for it."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """What context needs."""

    sources: Callable[[RunPlay, Past], Sequence[Source]]
    redact: Redactor


def make_inventory(settings: Settings) -> InventoryCache:
    """Return the cached inventory."""
    return InventoryCache(settings.inventory.paths, vault_password_file=settings.inventory.vault_password_file)


def make_monitoring(settings: Settings) -> tuple[Prometheus | None, Alertmanager | None]:
    """Return the clients of Prometheus and Alertmanager, None for the ones without an address."""
    prometheus, alertmanager = settings.prometheus, settings.alertmanager
    return (
        Prometheus(prometheus.url, token=prometheus.token.get_secret_value(), timeout_s=prometheus.timeout_s, fresh_s=FRESH_S)
        if prometheus.url
        else None,
        Alertmanager(alertmanager.url, token=alertmanager.token.get_secret_value(), timeout_s=alertmanager.timeout_s, fresh_s=FRESH_S)
        if alertmanager.url
        else None,
    )


def make_sources(settings: Settings, prometheus: Prometheus | None) -> Gathering:
    """Return the sources of context, and what takes secrets out of them."""

    def sources(run_play: RunPlay, past: Past) -> Sequence[Source]:
        found: list[Source] = []
        if prometheus is not None:
            found += [Metrics(prometheus, range_s=settings.prometheus.range_s, now=time.time), ActiveAlerts(prometheus.active)]
        if settings.context.from_hosts:
            found.append(HostState(run_play))
        if settings.logs.from_hosts:
            found.append(HostLogs(run_play, lines=settings.logs.lines))
        if settings.logs.loki_url:
            found.append(
                Loki(
                    settings.logs.loki_url,
                    settings.logs.loki_selector,
                    token=settings.logs.loki_token.get_secret_value(),
                    lines=settings.logs.lines,
                )
            )
        found.append(History(past))
        return found

    return Gathering(sources, Redactor([*_secrets(settings), os.environ.get("MISTRAL_API_KEY", "")]))


def make_executor(settings: Settings, data: DataFolder, redact: Callable[[str], str], inventory: InventoryCache) -> Executor:
    """Return the door to the hosts."""

    def is_local(name: str) -> bool:
        try:
            host = inventory.get().hosts.get(name)
        except InventoryError:
            return False  # the play itself will say so
        return host is not None and host.variables.get("ansible_connection") == "local"

    config = Path(settings.catalogue.path).absolute().parent / "ansible.cfg"
    return Executor(
        data_dir=data.path,
        inventory_paths=tuple(Path(path).absolute() for path in settings.inventory.paths),
        roles=Path(settings.catalogue.roles).absolute(),
        node=data.node(),
        redact=redact,
        vault_password_file=settings.inventory.vault_password_file,
        ssh_key_file=settings.inventory.ssh_key_file,
        is_local=is_local,
        ansible_config=config if config.is_file() else None,
    )


def make_model(settings: Settings, environment: Mapping[str, str] = os.environ) -> Model | None:
    """Return the language model, None where the matchers decide alone.

    Raises:
        SettingsError: `engine = "mistral"` without a key.
    """
    chosen = settings.decision
    key = chosen.api_key.get_secret_value() or environment.get("MISTRAL_API_KEY", "")
    if chosen.engine == "matchers" or (chosen.engine == "auto" and not key):
        return None
    if not key:
        raise SettingsError(
            ["decision.engine: 'mistral' needs a key. Mend: set MISTRAL_API_KEY or decision.api_key_file, or use engine = \"auto\"."]
        )
    from orchestrator.decide.breaker import Breaker
    from orchestrator.decide.mistral import ChatModel
    from orchestrator.decide.prompt import Prompts

    return ChatModel(
        name=chosen.model,
        provider=chosen.provider,
        base_url=chosen.base_url or environment.get("MISTRAL_BASE_URL", ""),
        api_key=key,
        deadline_s=chosen.deadline_s,
        prompts=Prompts(Path(settings.catalogue.prompts)),
        breaker=Breaker(chosen.breaker_failures, chosen.breaker_s, time.monotonic),
    )


def make_channels(settings: Settings, key: Callable[[], bytes]) -> list[Channel]:
    """Return the ways to tell people.

    Args:
        settings: which there are.
        key: returns the secret that signs the links in mails.

    Raises:
        SettingsError: a reminder goes to a channel that is not set, or Slack's bot has no channel.
    """
    rules = settings.notify
    problems = []
    if rules.slack_bot_token.get_secret_value() and not rules.slack_channel:
        problems.append("notify.slack_channel: is empty. Mend: write the id of the channel that the bot posts in.")
    made = channels(rules, Links(key, settings.public_url()))
    names = {channel.name for channel in made}
    problems += [
        f"notify.escalate_to: there is no channel {name!r}. Mend: write some of {', '.join(sorted(names)) or 'none'}."
        for name in rules.escalate_to
        if name not in names
    ]
    if problems:
        raise SettingsError(problems)
    return made


def _secrets(section: Section) -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _secrets(value)
        elif isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, tuple):
            yield from (one.get_secret_value() for one in value if isinstance(one, SecretStr))
