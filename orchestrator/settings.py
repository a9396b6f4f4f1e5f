"""Settings: one TOML file and environment variables → one frozen `Settings`.

Each value `section.name` can also be given as `ORCHESTRATOR_SECTION__NAME`; a secret also as `name_file`, the path of a
file that holds it. Unknown keys are refused. All problems are reported together.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from orchestrator.errors import SettingsError

PREFIX = "ORCHESTRATOR_"


class Section(BaseModel):
    """A part of the settings: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Server(Section):
    """Where we listen, and how large a body may be."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str = Field("", description="Address of the pages as people reach it, for links in messages; empty: from host and port.")
    webhook_token: SecretStr = Field(SecretStr(""), description="Bearer token Alertmanager sends; empty: one is made on first start.")
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="Largest request body taken.")
    threads: int = Field(8, ge=1, le=256, description="Threads that answer requests.")
    cookie_secure: bool = Field(False, description="Send the session cookie over HTTPS only; set it behind TLS.")
    proxies: int = Field(0, ge=0, le=10, description="Reverse proxies in front of us whose X-Forwarded-For is believed.")


class LoginSettings(Section):
    """How people sign in."""

    passwords: bool = Field(True, description="Whether users with a password of ours may sign in; false leaves `oidc` and the first link.")
    session_s: float = Field(43200.0, gt=60, description="How long a session lives at most.")
    idle_s: float = Field(14400.0, gt=60, description="How long a session lives without being used.")
    first_link_s: float = Field(86400.0, gt=60, description="How long the first start's admin link works; a later start makes a new one.")


class OidcSettings(Section):
    """Sign-in at an OpenID Connect provider."""

    issuer: str = Field("", description="The provider's issuer, `https://…`; empty: not used.")
    client_id: str = Field("", description="Our client id there.")
    client_secret: SecretStr = Field(SecretStr(""), description="Our client secret there; empty for a public client.")
    label: str = Field("single sign-on", description="What the button on the login page calls it.")
    scopes: tuple[str, ...] = Field(("openid", "profile", "email"), description="Scopes asked for; `openid` is always among them.")
    name_claim: str = Field("preferred_username", description="Claim that names the user here.")
    groups_claim: str = Field("groups", description="Claim that lists the user's groups there.")
    roles: dict[str, Literal["viewer", "approver", "admin"]] = Field(
        {}, description="Group there → role here; the highest counts, and who has none is not let in."
    )
    groups: dict[str, str] = Field({}, description="Group there → approver group here; empty: groups keep their names.")
    default_role: Literal["", "viewer", "approver"] = Field("", description="Role of a user whose groups give none; empty: not let in.")
    timeout_s: float = Field(5.0, gt=0, description="Time for one answer of the provider.")


class Database(Section):
    """Where incidents live."""

    url: str = Field("", description="`sqlite:///PATH` or `postgresql://…`; empty: `orchestrator.db` in the data folder.")
    synchronous: Literal["FULL", "NORMAL"] = Field("FULL", description="SQLite's `synchronous`; FULL survives power loss.")


class Worker(Section):
    """How incidents are carried."""

    threads: int = Field(4, ge=1, le=64, description="Incidents worked on at once by this process.")
    lease_s: float = Field(10.0, gt=1, description="A worker that is silent this long loses its incidents to another.")
    sweep_s: float = Field(1.0, gt=0, description="Seconds between looks for due or abandoned incidents.")
    reconcile_s: float = Field(60.0, gt=0, description="Seconds between comparisons with Alertmanager.")
    tidy_s: float = Field(10.0, gt=0, description="Seconds between looks for what ended runs left on disk.")


class CatalogueSettings(Section):
    """Where the catalogue lives."""

    path: str = Field("playbooks", description="Folder of entries.")
    roles: str = Field("roles", description="Folder of roles.")
    prompts: str = Field("prompts", description="Folder of prompt templates.")
    admit_shipped: bool = Field(True, description="Admit at first start the entries that came with the program unchanged.")


class InventorySettings(Section):
    """The Ansible inventory."""

    paths: tuple[str, ...] = Field(("inventory",), description="Inventory files, folders or scripts.")
    vault_password_file: str = Field("", description="File with the Ansible vault password.")
    ssh_key_file: str = Field("", description="Private key for the hosts.")
    instance_variable: str = Field("prometheus_instance", description="Host variable that names the host's `instance` label.")


class DecisionSettings(Section):
    """Who chooses the entry."""

    engine: Literal["auto", "mistral", "matchers"] = Field("auto", description="`auto`: the model where a key is set, else the matchers.")
    model: str = Field("mistral-large-latest", description="Model name.")
    provider: str = Field("mistralai", description="LangChain's provider name.")
    base_url: str = Field("", description="The provider's address, ending in /v1; empty: its own.")
    api_key: SecretStr = Field(SecretStr(""), description="The provider's key; MISTRAL_API_KEY is read too.")
    deadline_s: float = Field(20.0, gt=0, description="Total time for the model's answer, repair included.")
    shortlist: int = Field(8, ge=1, le=40, description="Entries shown to the model.")
    breaker_failures: int = Field(3, ge=1, description="Failures in a row after which the model is left alone for a while.")
    breaker_s: float = Field(60.0, gt=0, description="How long it is left alone.")


class Window(Section):
    """A maintenance window, weekly or once."""

    name: str = Field(description="Shown to people.")
    start: str = Field(description="Cron expression of the start (`0 2 * * 6`), or an ISO time for once.")
    duration_s: float = Field(gt=0, description="How long it lasts.")
    timezone: str = Field("UTC", description="IANA time zone of a cron start.")
    hosts: tuple[str, ...] = Field((), description="Hosts or groups; empty: all.")


class PolicySettings(Section):
    """What may run without a person."""

    mode: Literal["observe", "approve", "auto"] = Field("approve", description="How far to go at most.")
    autonomy_low: Literal["observe", "approve", "earned", "auto"] = Field(
        "auto", description="How far to go for low risk, within the mode; earned: see docs/explanation/autonomy.md."
    )
    autonomy_medium: Literal["observe", "approve", "earned", "auto"] = Field("approve", description="How far to go for medium risk.")
    autonomy_high: Literal["observe", "approve", "earned", "auto"] = Field(
        "approve", description="How far to go for high risk; two people are needed."
    )
    earned_bound: float = Field(
        0.9, gt=0, lt=1, description="Lower confidence bound of verified runs at which autonomy is proposed (0.9: 29 of 29)."
    )
    auto_without_model: bool = Field(False, description="Let matchers act alone while a configured model is down.")
    approval_ttl_s: float = Field(900.0, gt=0, description="How long an approval waits for an answer.")
    standing_max_s: float = Field(86_400.0, gt=0, description="How far ahead a standing grant may end.")
    max_attempts: int = Field(2, ge=1, le=5, description="How many different entries may be tried for one incident.")
    max_running: int = Field(4, ge=1, description="Changing plays at once, over all hosts and workers.")
    max_running_per_group: int = Field(0, ge=0, description="Changing plays at once in one inventory group; 0: no limit.")
    max_hosts_per_hour: int = Field(10, ge=1, description="Different hosts changed without a person within an hour.")
    fleet_share: float = Field(0.5, gt=0, le=1, description="Share of the inventory alerting at once above which a person is asked.")
    fleet_minimum: int = Field(5, ge=1, description="Hosts alerting at once below which the share is not looked at.")
    breaker_failures: int = Field(2, ge=1, description="Ineffective runs within the breaker's time that open it.")
    breaker_s: float = Field(3600.0, gt=0, description="How long an entry's or a host's breaker stays open.")
    correlate_s: float = Field(30.0, ge=0, description="Incidents of one target within this time are linked.")
    protected_hosts: tuple[str, ...] = Field((), description="Hosts that are never changed: this program's own, its database, monitoring.")
    allow_monitoring_hosts: bool = Field(False, description="Whether hosts of Prometheus and Alertmanager may be changed.")
    host_down: tuple[str, ...] = Field(
        ('alertname=~"HostDown|NodeDown|InstanceDown|HostUnreachable|TargetDown|PrometheusTargetMissing"', 'service=""'),
        description="Matchers of alerts that say a whole host is unreachable.",
    )
    watchdog: tuple[str, ...] = Field(('alertname="Watchdog"',), description="Matchers of alerts that always fire.")
    watchdog_timeout_s: float = Field(0.0, ge=0, description="Without a Watchdog for this long nothing runs by itself; 0: not looked at.")
    windows: tuple[Window, ...] = Field((), description="Maintenance windows.")


class PrometheusSettings(Section):
    """Prometheus, for context, confirmation and verification."""

    url: str = Field("", description="Address; empty: not used.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token.")
    timeout_s: float = Field(5.0, gt=0, description="Time for one query.")
    range_s: float = Field(1800.0, gt=0, description="How far back context looks.")


class AlertmanagerSettings(Section):
    """Alertmanager, for reconciliation and silences."""

    url: str = Field("", description="Address; empty: not used.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token.")
    timeout_s: float = Field(5.0, gt=0, description="Time for one call.")
    hold_pages: bool = Field(
        False, description="Hold other receivers back by short silences while a repair advances; see docs/how-to/hold-back-pages.md."
    )
    hold_s: float = Field(120.0, ge=5, le=120, description="How long one such silence lasts; it is renewed while work advances.")
    hold_longest_s: float = Field(900.0, gt=0, description="How long pages of one incident are held back in all.")


class LogsSettings(Section):
    """Where logs come from."""

    loki_url: str = Field("", description="Address of Loki; empty: not used.")
    loki_selector: str = Field('{host="$host"}', description="LogQL stream selector; `$host` and `$label` are filled in, escaped.")
    loki_token: SecretStr = Field(SecretStr(""), description="Bearer token.")
    from_hosts: bool = Field(True, description="Read log files and the journal on the host by a read-only play.")
    lines: int = Field(100, ge=1, le=2000, description="Lines kept per source.")


class ContextSettings(Section):
    """Limits of gathering."""

    deadline_s: float = Field(20.0, gt=0, description="Total time for gathering.")
    max_bytes: int = Field(16384, ge=512, description="Size of one piece of evidence.")
    from_hosts: bool = Field(True, description="Ask the host itself (facts, services, disk, memory) by a read-only play.")


class NotifySettings(Section):
    """Who is told, and of what."""

    slack_webhook_url: SecretStr = Field(SecretStr(""), description="Slack incoming webhook.")
    slack_signing_secret: SecretStr = Field(SecretStr(""), description="Slack's signing secret, for buttons.")
    slack_users: dict[str, str] = Field({}, description="Slack user id → user name here.")
    slack_bot_token: SecretStr = Field(SecretStr(""), description="Slack bot token (`chat:write`), for messages that change when decided.")
    slack_channel: str = Field("", description="Id of the channel that the bot posts in.")
    slack_api_url: str = Field("https://slack.com/api", description="Address of Slack's Web API.")
    smtp_host: str = Field("", description="Mail server; empty: no mail.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_starttls: bool = Field(True, description="Whether STARTTLS is required.")
    smtp_user: str = Field("", description="Login.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Password.")
    smtp_ca_file: str = Field("", description="CA file for the mail server's certificate; empty: the system's.")
    mail_from: str = Field("orchestrator@localhost", description="Sender.")
    mail_to: tuple[str, ...] = Field((), description="Receivers.")
    apprise_urls: tuple[SecretStr, ...] = Field((), description="Apprise addresses for other services.")
    heartbeat_url: SecretStr = Field(
        SecretStr(""), description="Called while all is ready; a watcher there raises the alarm when it stays away."
    )
    heartbeat_s: float = Field(60.0, ge=1, description="Seconds between these calls.")
    events: tuple[str, ...] = Field(
        (
            "approval.asked",
            "approval.reminder",
            "incident.escalated",
            "incident.resolved",
            "engine.degraded",
            "engine.paused",
            "engine.resumed",
        ),
        description="Kinds of event that are sent.",
    )
    min_severity: str = Field("", description="Least `severity` label sent: info, warning, critical; empty: all.")
    reminders: tuple[float, ...] = Field(
        (0.5, 0.8), description="Shares of an approval's time after which who was asked is reminded, each once, in rising order."
    )
    escalate_to: tuple[str, ...] = Field(
        (), description="Channels (`slack`, `mail`, `apprise-1`, …) that hear of an approval only from the first, second, … reminder on."
    )
    storm_per_minute: int = Field(20, ge=1, description="Messages per minute, per channel, above which one summary is sent instead.")
    storm_update_s: float = Field(600.0, ge=60, description="Seconds between summaries while a storm lasts.")


class AuditSettings(Section):
    """The audit log."""

    seal_s: float = Field(60.0, gt=0, description="Seconds between links of the global chain.")
    head_file: str = Field("", description="File to which heads of the global chain are appended; empty: none.")


class Settings(Section):
    """Everything that can be set."""

    data_dir: str = Field("var", description="Folder of database, tokens, run artifacts and locks.")
    server: Server = Server()
    login: LoginSettings = LoginSettings()
    oidc: OidcSettings = OidcSettings()
    database: Database = Database()
    worker: Worker = Worker()
    catalogue: CatalogueSettings = CatalogueSettings()
    inventory: InventorySettings = InventorySettings()
    decision: DecisionSettings = DecisionSettings()
    policy: PolicySettings = PolicySettings()
    prometheus: PrometheusSettings = PrometheusSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    logs: LogsSettings = LogsSettings()
    context: ContextSettings = ContextSettings()
    notify: NotifySettings = NotifySettings()
    audit: AuditSettings = AuditSettings()

    def database_url(self) -> str:
        """Return the database's address, the default filled in."""
        return self.database.url or f"sqlite:///{Path(self.data_dir) / 'orchestrator.db'}"

    def public_url(self) -> str:
        """Return the address that people reach the pages at, without a trailing slash."""
        return (self.server.public_url or f"http://{self.server.host}:{self.server.port}").rstrip("/")


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of `path` (None: defaults) overlaid with the environment.

    Relative paths inside the file are taken from the folder the program runs in.

    Raises:
        SettingsError: with every problem found.
    """
    problems: list[str] = []
    values = _read(path, problems)
    where = _overlay(values, environment, problems)
    _read_secret_files(values, Settings, "", str(path or "settings"), problems)
    if not problems:
        try:
            return Settings.model_validate(values)
        except ValidationError as error:
            problems.extend(_explain(error, str(path or "settings"), where))
    raise SettingsError(problems)


def _read(path: Path | None, problems: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(
            f"{path}: cannot be read ({error.strerror}). Mend: name an existing file with --config, or run `orchestrator init DIR`."
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: is not TOML: {error}. Mend: correct that line.")
    return {}


def _overlay(values: dict[str, Any], environment: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Write the environment's values into `values`; return setting → variable."""
    where: dict[str, str] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        parts = variable.removeprefix(PREFIX).lower().split("__")
        annotation = _annotation(parts)
        if annotation is None:
            problems.append(f"{variable}: no such setting. Mend: see docs/reference/settings.md for the names.")
            continue
        place: dict[str, Any] = values
        for part in parts[:-1]:
            if not isinstance(place.setdefault(part, {}), dict):
                place[part] = {}
                problems.append(f"{part}: a value stands where a section belongs. Mend: write [{part}] and its settings below it.")
            place = place[part]
        place[parts[-1]] = _from_text(text, annotation)
        where[".".join(parts)] = variable
    return where


def _annotation(parts: list[str]) -> Any:
    """Return the type of the setting named by `parts`, or None where there is none."""
    model: Any = Settings
    for index, part in enumerate(parts):
        name = part.removesuffix("_file") if part not in model.model_fields else part
        if name not in model.model_fields:
            return None
        annotation = model.model_fields[name].annotation
        if name != part and not _is_secret(annotation):
            return None
        if index == len(parts) - 1:
            return str if name != part else annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            return None
        model = annotation
    return None


def _from_text(text: str, annotation: Any) -> Any:
    """Return the value of an environment variable: JSON or comma-separated for lists, JSON for tables, else the text."""
    origin = get_origin(annotation)
    if origin not in (tuple, dict):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if origin is tuple and get_args(annotation)[0] in (str, SecretStr):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr


def _read_secret_files(values: dict[str, Any], model: Any, prefix: str, source: str, problems: list[str]) -> None:
    """Replace each `name_file` of a secret by the content of that file."""
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            if isinstance(values.get(name), dict):
                _read_secret_files(values[name], annotation, f"{prefix}{name}.", source, problems)
        elif _is_secret(annotation) and f"{name}_file" in values:
            path = values.pop(f"{name}_file")
            try:
                values[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, TypeError, UnicodeDecodeError) as error:
                problems.append(f"{source}: {prefix}{name}_file: {path!r} cannot be read ({error}). Mend: name a readable file.")


def _explain(error: ValidationError, source: str, where: dict[str, str]) -> list[str]:
    lines = []
    for item in error.errors():
        dotted = ".".join(str(part) for part in item["loc"])
        origin = where.get(dotted, f"{source}: {dotted}")
        if item["type"] == "extra_forbidden":
            lines.append(f"{origin}: no such setting. Mend: remove it, or see docs/reference/settings.md for the names.")
        else:
            shown = "" if "secret" in str(item.get("type")) else f" (it is {item['input']!r:.80})"
            lines.append(f"{origin}: {item['msg'][0].lower()}{item['msg'][1:]}{shown}. Mend: correct the value.")
    return lines
