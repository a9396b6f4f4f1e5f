"""Every call of the API, fed by its own description: what it answers is described, and nothing that is sent makes it fail."""

from __future__ import annotations

import pytest
import schemathesis
from asked import ask, settings_in
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from orchestrator.app import build
from orchestrator.model import Role
from orchestrator.web import create_app

EXAMPLES = 5
CAREFUL = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Api:
    """The program over a place where one question waits, its description, and ids that are there."""

    def __init__(self, place):
        approval = ask(place)
        self.program = build(settings_in(place))
        self.program.act_wait_s = 0.0  # no worker is there to heed
        self.tokens = {role: self.program.create_token(f"fuzz-{role}", role) for role in Role}
        self.schema = schemathesis.openapi.from_wsgi("/openapi.json", create_app(self.program))
        incident = approval.partition(":")[0]
        run = self.program.runs(incident=incident)[0][0].id
        self.ids = {"approvals": approval, "incidents": incident, "runs": run, "catalogue": "restart_service"}

    def operations(self):
        """Yield every described call."""
        for result in self.schema.get_all_operations():
            yield result.ok()

    def real_id(self, path):
        """Return an id that is there for a call's path, an empty string where it takes none."""
        return next((found for noun, found in self.ids.items() if f"/{noun}/{{id}}" in path), "")


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """Return the API of a program that no worker advances."""
    made = Api(tmp_path_factory.mktemp("asked"))
    yield made
    made.program.stop()


def feed(operation, mode, token, identity=""):
    """Send what the description allows, or what it forbids; return in words what was wrong with the answers."""

    @CAREFUL
    @given(case=operation.as_strategy(generation_mode=mode))
    def once(case):
        if identity:
            case.path_parameters = {**case.path_parameters, "id": identity}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # An opaque cursor, or a webhook inside an object, is more than its schema can say; an empty filter is one that is not given.
        tolerated = [positive_data_acceptance, *([negative_data_rejection] if operation.method.upper() == "GET" else [])]
        case.call_and_validate(headers=headers, excluded_checks=tolerated)

    try:
        once()
    except Unsatisfiable:
        return ""  # nothing that such a call takes could be wrong
    except (Exception, BaseExceptionGroup) as error:
        return f"{operation.label} ({mode.value}{', there' if identity else ''}): {_words(error)}"
    return ""


def _words(error):
    if isinstance(error, BaseExceptionGroup):
        return " | ".join(_words(one) for one in error.exceptions)
    return f"{type(error).__name__}: {error}"[:600]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_what_the_description_allows_and_forbids_is_answered_as_described(api, mode):
    """Status, content type and shape of every answer are the described ones; none is a 5xx."""
    faults = [feed(operation, mode, api.tokens[Role.ADMIN]) for operation in api.operations()]
    assert [fault for fault in faults if fault] == []


def test_things_that_are_there_withstand_it_too(api):
    """The same with ids of things that exist, so that requests get past the look-up."""
    faults = [
        feed(operation, mode, api.tokens[Role.ADMIN], api.real_id(operation.path))
        for operation in api.operations()
        if api.real_id(operation.path)
        for mode in GenerationMode
    ]
    assert [fault for fault in faults if fault] == []


@pytest.mark.parametrize("role", ["", Role.WEBHOOK, Role.VIEWER])
def test_who_may_not_is_told_so_and_nothing_else(api, role):
    """Without a token, or with too small a role, every call that changes something is 401 or 403, whatever is sent."""
    token = api.tokens[role] if role else ""
    allowed = {"POST /alert"} if role is Role.WEBHOOK else set()
    client = api.schema.app.test_client()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for operation in api.operations():
        if operation.method.upper() == "GET" or operation.label in allowed:
            continue
        path = operation.path.replace("{id}", api.real_id(operation.path) or "x")
        for body in (b"", b"{}", b"{", b"\xff", b"[" * 5000):
            answer = client.open(path, method=operation.method, data=body, headers=headers)
            assert answer.status_code in ((403,) if role else (401,)), (operation.label, body)
            assert answer.mimetype == "application/problem+json"
