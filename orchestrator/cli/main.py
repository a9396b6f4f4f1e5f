"""The door of the command line: the nouns, the exit codes, and how an error is told.

Exit codes: 0 done; 1 the thing asked about is not so; 2 wrong usage or settings; 3 the server could not be reached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from orchestrator import __version__
from orchestrator.cli.command import LateGroup
from orchestrator.cli.session import Session
from orchestrator.errors import NotAuthenticated, OrchestratorError, ServerUnreachable, SettingsError, UsageError

NOT_SO, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

COMMANDS = {
    "init": ("orchestrator.cli.init:init", "Write a working folder: settings, catalogue, roles, prompts, inventory."),
    "demo": ("orchestrator.cli.demo:demo", "Break a real service and watch it being repaired."),
    "serve": ("orchestrator.cli.serve:serve", "Run the pages, the API and a worker in one process."),
    "web": ("orchestrator.cli.serve:web", "Run the pages and the API only."),
    "worker": ("orchestrator.cli.serve:worker", "Run a worker only."),
    "doctor": ("orchestrator.cli.doctor:doctor", "Look at everything that is needed, and say how to mend what is not there."),
    "alert": ("orchestrator.cli.alert:alert", "Send alerts; print Alertmanager's receiver."),
    "incident": ("orchestrator.cli.incident:incident", "List, show, explain and end incidents."),
    "approval": ("orchestrator.cli.approval:approval", "Answer what waits for a person."),
    "grant": ("orchestrator.cli.grant:grant", "Give, list, confirm and take back standing grants."),
    "run": ("orchestrator.cli.run:run", "Follow, cancel, undo, settle and start runs."),
    "catalogue": ("orchestrator.cli.catalogue:catalogue", "List, check, write and admit catalogue entries."),
    "decide": ("orchestrator.cli.decide:decide", "Decide on a webhook body without running anything."),
    "policy": ("orchestrator.cli.decide:policy", "Ask the policy."),
    "autonomy": ("orchestrator.cli.autonomy:autonomy", "See what entries have earned; accept that they run by themselves."),
    "eval": ("orchestrator.cli.evaluation:evaluation", "Measure decisions against labelled cases."),
    "audit": ("orchestrator.cli.audit:audit", "Verify and export the audit log."),
    "pause": ("orchestrator.cli.pause:pause", "Kill switch: from now on no run starts."),
    "resume": ("orchestrator.cli.pause:resume", "Take the kill switch back."),
    "user": ("orchestrator.cli.user:user", "Add and list users; set passwords."),
    "token": ("orchestrator.cli.tokens:token", "Create, list and revoke API tokens."),
    "db": ("orchestrator.cli.db:db", "Upgrade, back up and restore the database."),
}


@click.group(
    cls=LateGroup,
    late=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 not so, 2 wrong usage or settings, 3 the server could not be reached.",
)
@click.version_option(__version__, "--version", prog_name="orchestrator")
def cli() -> None:
    """From a Prometheus alert to a verified Ansible repair.

    \b
    Examples:
      orchestrator init recovery && cd recovery
      orchestrator serve
      orchestrator incident list --status awaiting_approval
      orchestrator --json approval show 01h9…:1
    """  # noqa: D301


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: what stands after the program's name.
    """
    session = Session()
    try:
        code = cli.main(args=list(arguments), prog_name="orchestrator", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except click.ClickException as error:
        return _tell(session, _usage(error), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _tell(session, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has what it wanted; say nothing at exit
        return 0
    except OrchestratorError as error:
        return _tell(session, str(error) or type(error).__name__, exit_code(error), _problems(error))
    return code if isinstance(code, int) else 0


def exit_code(error: OrchestratorError) -> int:
    """Return the exit code of an error: 3 unreachable, 2 usage or settings, else 1."""
    match error:
        case ServerUnreachable():
            return UNREACHABLE
        case UsageError() | NotAuthenticated():
            return USAGE
        case _:
            return NOT_SO


def _problems(error: OrchestratorError) -> list[str]:
    return error.problems if isinstance(error, SettingsError) else [str(error) or type(error).__name__]


def _usage(error: click.ClickException) -> str:
    """Return click's message with the call that shows the right one."""
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message()
    where = f" Mend: see `{context.command_path} --help`." if context is not None else ""
    return f"{error.format_message()}{where}"


def _tell(session: Session, message: str, code: int, problems: list[str] | None = None) -> int:
    """Print an error on stderr: one line per problem, or one JSON object."""
    from orchestrator.cli.render import plain

    if session.json:
        print(json.dumps({"error": message, "problems": problems or [message], "exit_code": code}), file=sys.stderr)
        return code
    if message.startswith("Usage:"):
        print(message, file=sys.stderr)
        return code
    for problem in problems or [message]:
        print(f"error: {' '.join(plain(problem).split())}", file=sys.stderr)
    return code
