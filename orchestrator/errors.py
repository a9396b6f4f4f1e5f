"""Every error of the orchestrator, under one root.

OrchestratorError
├── UsageError                   the caller asked for something that cannot be (exit code 2, HTTP 400)
│   ├── SettingsError            the settings file or an environment variable is wrong; lists every problem
│   ├── NotJson                  a body is not JSON (HTTP 400)
│   ├── NotAWebhook              JSON, but not an Alertmanager webhook (HTTP 422)
│   ├── InvalidRequest           JSON, but not what this call takes (HTTP 422)
│   ├── TooLarge                 a body is over the limit (HTTP 413)
│   └── SchemaMismatch           the database was written by a newer or an older version; says what to do
├── NotAuthenticated             no token or session, or an unknown one (HTTP 401)
├── Forbidden                    known, but not allowed to do this (HTTP 403)
├── NotFound                     no such incident, approval, run or entry (HTTP 404)
├── Conflict                     decided already, or the world changed since (HTTP 409)
├── Expired                      the approval's time is over (HTTP 410)
├── Unavailable                  something we need does not answer
│   ├── StoreUnavailable         the database cannot store (HTTP 503)
│   ├── SourceUnavailable        Prometheus, Alertmanager, Loki or a host did not answer
│   ├── ModelUnavailable         the language model failed, was too slow or answered nonsense
│   └── ServerUnreachable        the command line could not reach the server (exit code 3)
├── CatalogueError               an entry cannot be loaded; carries file, field and mend
├── InventoryError               the inventory cannot be read, or a name is ambiguous
├── ExecutionError               a play could not be started at all
├── LeaseLost                    another worker has taken this incident over: write no more
└── HostBusy                     as many plays read this host as may at once: the step is made again soon
"""

from __future__ import annotations


class OrchestratorError(Exception):
    """The root: everything that this program raises on purpose."""


class UsageError(OrchestratorError):
    """The caller asked for something that cannot be."""


class SettingsError(UsageError):
    """The settings are wrong.

    Args:
        problems: one line per problem, each naming file or variable, field, value and mend.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class NotJson(UsageError):
    """A body is not JSON."""


class NotAWebhook(UsageError):
    """A body is JSON, but not an Alertmanager webhook."""


class InvalidRequest(UsageError):
    """A body is JSON, but not what this call takes."""


class TooLarge(UsageError):
    """A body is over the limit."""


class NotAuthenticated(OrchestratorError):
    """No token or session, or an unknown one."""


class Forbidden(OrchestratorError):
    """Known, but not allowed to do this."""


class NotFound(OrchestratorError):
    """No such incident, approval, run or entry."""


class Conflict(OrchestratorError):
    """Decided already, or the world changed since; the message says by whom or what.

    Args:
        message: what a person reads.
        members: the same for programs, JSON values: `decided` or `changed`.
    """

    def __init__(self, message: str, **members: object) -> None:
        super().__init__(message)
        self.members = members


class Expired(OrchestratorError):
    """The approval's time is over."""


class Unavailable(OrchestratorError):
    """Something that we need does not answer."""


class StoreUnavailable(Unavailable):
    """The database cannot store."""


class SourceUnavailable(Unavailable):
    """Prometheus, Alertmanager, Loki or a host did not answer."""


class ModelUnavailable(Unavailable):
    """The language model failed, was too slow or answered nonsense."""


class ServerUnreachable(Unavailable):
    """The command line could not reach the server."""


class CatalogueError(OrchestratorError):
    """An entry cannot be loaded.

    Args:
        file: path of the file at fault.
        field: dotted path of the field, empty for the whole file.
        problem: what is wrong, with the value.
        mend: what to write instead.
    """

    def __init__(self, file: str, field: str, problem: str, mend: str) -> None:
        where = f"{file}: {field}: " if field else f"{file}: "
        super().__init__(f"{where}{problem} Mend: {mend}")
        self.file, self.field, self.problem, self.mend = file, field, problem, mend


class InventoryError(OrchestratorError):
    """The inventory cannot be read, or a name in it is ambiguous."""


class ExecutionError(OrchestratorError):
    """A play could not be started at all."""


class LeaseLost(OrchestratorError):
    """Another worker has taken this incident over: write no more."""


class HostBusy(OrchestratorError):
    """A host is being read by as many plays as may at once: nothing of the step is written, it is made again soon.

    Args:
        host: which one.
    """

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is read by as many plays as may at once")
        self.host = host


class Stopping(OrchestratorError):
    """This process ends before the step came to its own end: nothing of it is written, the next worker makes it again."""


class SchemaMismatch(UsageError):
    """The database was written by a newer or an older version of the program."""
