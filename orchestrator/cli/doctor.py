"""`orchestrator doctor`: look at everything that is needed; each finding is ok, warn or fail, with a mend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.render import Table
from orchestrator.cli.session import Session
from orchestrator.errors import InventoryError, OrchestratorError
from orchestrator.inventory import Inventory, host_for
from orchestrator.model import Host

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator
    from orchestrator.settings import Settings

OK, WARN, FAIL = "ok", "warn", "fail"
CLOCK_WARN_S: Final = 5.0
CLOCK_FAIL_S: Final = 60.0
NAMED: Final = 5
"""How many names a finding lists at most."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: str
    detail: str
    mend: str = ""


@click.command(cls=Verb)
@pass_session
def doctor(session: Session) -> int:
    """Look at everything that is needed, and say how to mend what is not there.

    Exit code 1 where something fails; warnings alone end with 0.
    """
    settings = session.settings()  # wrong settings end here, all of them told, with exit code 2
    findings = examine(session, settings)
    failed = sum(finding.state == FAIL for finding in findings)
    warned = sum(finding.state == WARN for finding in findings)
    rows = [(item.name, item.state, item.detail + (f"\n→ {item.mend}" if item.mend else "")) for item in findings]
    session.show(
        {"ok": not failed, "items": findings},
        (Table(("what", "state", "detail"), rows), "", f"{len(findings)} looked at, {failed} fail, {warned} warn"),
    )
    return 1 if failed else 0


def examine(session: Session, settings: Settings) -> list[Finding]:
    """Return every finding."""
    config = session.config_path()
    found = [Finding("settings", OK, str(config) if config else "defaults and environment; no orchestrator.toml here")]
    found.append(data_dir(Path(settings.data_dir)))
    found.extend(_program(session, settings))
    found.extend(_sources(settings))
    found.append(model(settings))
    found.append(messages(settings))
    found.extend(ansible())
    return found


def data_dir(path: Path) -> Finding:
    """Look at the data folder: there, writable, closed to others."""
    if not path.exists():
        parent = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
        if os.access(parent, os.W_OK):
            return Finding("data_dir", OK, f"{path} will be made on first start")
        return Finding("data_dir", FAIL, f"{path} does not exist and cannot be made", "set data_dir to a folder that this user may write")
    if not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
        return Finding("data_dir", FAIL, f"{path} cannot be written", f"chown it to this user, or set data_dir: ls -ld {path}")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding("data_dir", FAIL, f"{path} is open to others (mode {mode:04o}); it holds tokens", f"chmod 0700 {path}")
    return Finding("data_dir", OK, f"{path}, mode {mode:04o}")


def _program(session: Session, settings: Settings) -> Iterator[Finding]:
    """Look at the database and at what is read through it."""
    try:
        with session.orchestrator() as program:
            yield Finding("database", OK, _shown(settings.database_url()))
            yield from catalogue(program)
            yield from inventory(program, settings)
    except (OrchestratorError, OSError) as error:
        mend = "check database.url; `orchestrator db upgrade` brings an older one up to date"
        yield Finding("database", FAIL, f"{_shown(settings.database_url())}: {error}", mend)


def _shown(url: str) -> str:
    """Return a database's address without its password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rsplit('@', 1)[-1]}"


def catalogue(program: Orchestrator) -> Iterator[Finding]:
    """Look at the entries: broken ones, and ones that no admin has admitted."""
    found = program.catalogue()
    for broken in found.broken:
        yield Finding("catalogue", FAIL, f"{broken.id} is broken: {'; '.join(broken.problems)}", "orchestrator catalogue lint")
    if not found.entries:
        yield Finding("catalogue", FAIL, "there is no usable entry", "set catalogue.path, or `orchestrator init DIR`")
        return
    new = [entry.id for entry in found.entries.values() if not program.admitted(entry)]
    if new:
        yield Finding("catalogue", WARN, f"not admitted, so a person is always asked: {_some(new)}", "orchestrator catalogue admit ENTRY")
    yield Finding("catalogue", OK, f"{len(found.entries)} entries")


def inventory(program: Orchestrator, settings: Settings) -> Iterator[Finding]:
    """Look at the inventory: it loads, and Prometheus' targets are hosts of it."""
    try:
        hosts = program.hosts()
    except OrchestratorError as error:
        yield Finding("inventory", FAIL, str(error), "ansible-inventory -i PATH --list shows the problem")
        return
    state = OK if hosts else WARN
    yield Finding(
        "inventory",
        state,
        f"{len(hosts)} hosts",
        "" if hosts else "list your hosts, or set inventory.paths; until then every alert goes to a person",
    )
    if not (hosts and settings.prometheus.url):
        return
    try:
        answer = _get(f"{settings.prometheus.url.rstrip('/')}/api/v1/targets?state=active", settings.prometheus.token.get_secret_value())
        targets = {target["labels"].get("instance", "") for target in answer.json()["data"]["activeTargets"]} - {""}
    except (OSError, ValueError, KeyError, TypeError):
        return  # told under prometheus
    yield from targets_of(targets, hosts, settings.inventory.instance_variable)


def targets_of(targets: set[str], hosts: Sequence[Host], instance_variable: str) -> Iterator[Finding]:
    """Compare Prometheus' targets with the inventory, exactly as an alert's label is read.

    Args:
        targets: the `instance` labels of the active targets.
        hosts: the inventory's hosts.
        instance_variable: the host variable that names the host's `instance` label.
    """
    known = Inventory({host.name: host for host in hosts})
    unmapped, ambiguous = [], []
    for target in sorted(targets):
        try:
            if host_for(known, {"instance": target}, instance_variable) is None:
                unmapped.append(target)
        except InventoryError as error:
            ambiguous.append(str(error).split(" Mend:")[0])
    if unmapped:
        mend = f"give each host its `{instance_variable}`; alerts of the others go to a person"
        yield Finding("targets", WARN, f"Prometheus watches what is no inventory host: {_some(unmapped)}", mend)
    if ambiguous:
        yield Finding(
            "targets", WARN, " ".join(ambiguous[:NAMED]), f"set `{instance_variable}` on the host that is meant; it is never guessed"
        )
    if not unmapped and not ambiguous:
        yield Finding("targets", OK, f"all {len(targets)} targets of Prometheus are inventory hosts")


# ---------------------------------------------------------------- what is outside


def _get(url: str, token: str) -> Any:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        response = session.get(url, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=5)
        response.raise_for_status()
        return response


def _sources(settings: Settings) -> Iterator[Finding]:
    told: list[float] = []
    for name, source in (("prometheus", settings.prometheus), ("alertmanager", settings.alertmanager)):
        if not source.url:
            yield Finding(name, WARN, "not set: no alert can be confirmed, so a person is always asked", f"set {name}.url")
            continue
        try:
            answer = _get(f"{source.url.rstrip('/')}/-/ready", source.token.get_secret_value())
        except OSError as error:  # requests' errors are OSErrors
            yield Finding(name, FAIL, f"{source.url} does not answer ({type(error).__name__})", f"start it, or correct {name}.url")
            continue
        if answer.headers.get("Date"):
            told.append((parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)).total_seconds())
        yield Finding(name, OK, source.url)
    yield clock(told)


def clock(differences_s: list[float]) -> Finding:
    """Compare our clock with the monitoring servers'."""
    if not differences_s:
        return Finding("clock", WARN, "cannot be compared: no monitoring server answers", "set prometheus.url")
    worst = max(differences_s, key=abs)
    state = FAIL if abs(worst) > CLOCK_FAIL_S else WARN if abs(worst) > CLOCK_WARN_S else OK
    mend = "" if state == OK else "let NTP set both clocks (chrony, systemd-timesyncd)"
    return Finding("clock", state, f"within {abs(worst):.0f} s of monitoring's", mend)


def model(settings: Settings) -> Finding:
    """Look at who decides."""
    key = settings.decision.api_key.get_secret_value() or os.environ.get("MISTRAL_API_KEY", "")
    if settings.decision.engine == "matchers":
        return Finding("model", OK, "the matchers decide, by choice; no model is asked")
    if key:
        return Finding("model", OK, f"{settings.decision.model}, with a key")
    if settings.decision.engine == "mistral":
        return Finding("model", FAIL, "decision.engine is mistral, and there is no key", "set MISTRAL_API_KEY or decision.api_key_file")
    return Finding("model", OK, "no key: the matchers decide alone")


def messages(settings: Settings) -> Finding:
    """Look at whether anybody is told."""
    ways = [
        name
        for name, there in (
            ("Slack", bool(settings.notify.slack_webhook_url.get_secret_value())),
            ("mail", bool(settings.notify.smtp_host and settings.notify.mail_to)),
            ("Apprise", bool(settings.notify.apprise_urls)),
        )
        if there
    ]
    if ways:
        return Finding("notify", OK, ", ".join(ways))
    return Finding(
        "notify",
        WARN,
        "nobody is told: questions and escalations stand on the page only",
        "set notify.slack_webhook_url or notify.smtp_host",
    )


def ansible() -> Iterator[Finding]:
    """Look for Ansible's programs."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        yield Finding("ansible-runner", OK, version("ansible-runner"))
    except PackageNotFoundError:
        yield Finding("ansible-runner", FAIL, "is not installed", "pip install ansible-runner")
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    for name in ("ansible-playbook", "ansible-inventory"):
        program = shutil.which(name, path=path)
        yield _version(name, program, lambda argv: subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False))


def _version(name: str, program: str | None, run: Callable[[list[str]], subprocess.CompletedProcess[str]]) -> Finding:
    mend = "pip install ansible-core"
    if program is None:
        return Finding(name, FAIL, "is not installed", mend)
    try:
        said = run([program, "--version"])
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, FAIL, f"{program} cannot be run ({error})", mend)
    if said.returncode:
        return Finding(name, FAIL, f"{program} ends with {said.returncode}: {said.stderr.strip()[:200]}", mend)
    return Finding(name, OK, said.stdout.splitlines()[0])


def _some(items: list[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more
