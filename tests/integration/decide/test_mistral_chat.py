"""The real LangChain client against a server that behaves, and one that does not."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deciding import CONTEXT, WEB, alert, catalogue, disk_entry, entry
from mistral_server import Misbehaviour, MistralServer, completion, refusal, running, serving

from orchestrator.decide import decide
from orchestrator.decide.breaker import Breaker
from orchestrator.decide.mistral import ChatModel
from orchestrator.decide.prompt import Prompts
from orchestrator.errors import ModelUnavailable
from orchestrator.model import Agreement, Choice, Proposal

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")

KEY = "sk-canary-4d1c"
GOOD = running("restart_service", ["web-01"], {"restart_service_name": "nginx", "restart_service_port": 0})
TEXT = json.dumps(GOOD)
ENTRIES = catalogue(entry(), disk_entry())


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:9")


def _model(server: MistralServer, repository: Path, *, deadline_s: float = 30.0, breaker: Breaker | None = None) -> ChatModel:
    return ChatModel(
        name="mistral-large-latest",
        provider="mistralai",
        base_url=server.url,
        api_key=KEY,
        deadline_s=deadline_s,
        prompts=Prompts(repository / "prompts"),
        breaker=breaker or Breaker(3, 60.0, time.monotonic),
    )


def _decide(server: MistralServer, repository: Path, **more) -> Proposal:
    return decide(alert(), CONTEXT, ENTRIES, (WEB,), model=_model(server, repository, **more))


def _ends(holds: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Wait until `holds` does; return whether it did."""
    end = time.monotonic() + within_s
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Load LangChain once, so that no deadline pays for it."""
    from langchain.chat_models import init_chat_model

    assert init_chat_model


def test_good_answer_agrees(repository: Path) -> None:
    """A good answer is one call with our settings: strict schema, temperature 0, the key, no stream."""
    with serving(GOOD) as server:
        proposal = _decide(server, repository)
    assert proposal.agreement is Agreement.AGREED
    assert len(proposal.prompt_digest) == 64
    assert proposal.claims[0].evidence == ("prom-1",)
    (request,) = server.requests
    assert (request["temperature"], request["stream"], request["model"]) == (0, False, "mistral-large-latest")
    assert request["response_format"]["type"] == "json_schema"
    assert request["response_format"]["json_schema"]["strict"] is True
    assert server.authorizations == [f"Bearer {KEY}"]


def test_two_questions_are_the_same_bytes(repository: Path) -> None:
    """Prompts are byte-stable, and the client survives one question after another from several threads."""
    with serving(GOOD) as server:
        model = _model(server, repository)
        threads = [threading.Thread(target=decide, args=(alert(), CONTEXT, ENTRIES, (WEB,)), kwargs={"model": model}) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(server.requests) == 3
    assert server.requests[0] == server.requests[1] == server.requests[2]


def test_none_differs_from_the_matchers(repository: Path) -> None:
    """A model that says none where a matcher fired makes a difference, not a failure."""
    with serving(refusal()) as server:
        assert _decide(server, repository).agreement is Agreement.DIFFER


@pytest.mark.parametrize(
    "how", [how for how in Misbehaviour if how not in (Misbehaviour.DRIP, Misbehaviour.SILENT)], ids=lambda how: how.name.lower()
)
def test_misbehaving_server_falls_back(how: Misbehaviour, repository: Path) -> None:
    """Whatever the server does wrong, the matchers' proposal stands, marked as the model's failure, before the deadline."""
    with serving(how) as server:
        began = time.monotonic()
        proposal = _decide(server, repository, deadline_s=60.0)
        took_s = time.monotonic() - began
    assert (proposal.agreement, proposal.entry) == (Agreement.MODEL_FAILED, "restart_service")
    assert server.requests
    assert KEY not in repr(proposal)
    assert took_s < 60, "it failed by itself, not by the deadline"


@pytest.mark.parametrize("how", [Misbehaviour.DRIP, Misbehaviour.SILENT])
def test_slow_server_ends_at_the_deadline(how: Misbehaviour, repository: Path) -> None:
    """A drip that keeps every single read alive ends at the total deadline, long before the server does."""
    with serving(how) as server:
        began = time.monotonic()
        proposal = _decide(server, repository, deadline_s=2.0)
        took_s = time.monotonic() - began
        assert _ends(lambda: not any(thread.name == "model" for thread in threading.enumerate())), "the question itself was given up"
    assert proposal.agreement is Agreement.MODEL_FAILED
    assert "within 2 s" in proposal.claims[-1].text or "Timeout" in proposal.claims[-1].text
    assert took_s < 30, "the drip lasts 60 s"


BAD = {
    "prose": "I would restart nginx on web-01.",
    "fenced": f"```json\n{TEXT}\n```",
    "truncated": TEXT[: TEXT.index("web-01") + 3],
    "two objects": TEXT + TEXT,
    "trailing text": TEXT + " Done.",
    "duplicate key": TEXT.replace('"entry":', '"entry": "clear_disk", "entry":'),
    "wrong entry": TEXT.replace('"restart_service"', '"rollback_all"'),
    "wrong host": TEXT.replace("web-01", "web-02"),
    "wrong parameter": TEXT.replace('"nginx"', '"sshd"'),
    "number for text": TEXT.replace('"nginx"', "7"),
    "unknown field": TEXT.replace('"decision":', '"risk": "low", "decision":'),
    "field missing": TEXT.replace('"alternatives": [], ', ""),
    "not a number": TEXT.replace('_port": 0', '_port": NaN'),
    "huge": json.dumps({**GOOD, "summary": "x" * 200_000}),
    "deep": "[" * 20_000,
    "blank": "  ",
    "list": f"[{TEXT}]",
    "null": "null",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_content_falls_back(name: str, repository: Path) -> None:
    """Content that is not exactly one allowed reply is no answer, in both rounds."""
    with serving(BAD[name]) as server:
        proposal = _decide(server, repository)
    assert (proposal.agreement, proposal.entry, proposal.hosts) == (Agreement.MODEL_FAILED, "restart_service", ("web-01",))
    assert len(server.requests) <= 2


@pytest.mark.parametrize("name", ["prose", "wrong host", "duplicate key"])
def test_second_round_mends(name: str, repository: Path) -> None:
    """One more round names the faults; a good second answer counts."""
    with serving(BAD[name], GOOD) as server:
        proposal = _decide(server, repository)
    assert proposal.agreement is Agreement.AGREED
    assert "cannot be used" in server.requests[1]["messages"][-1]["content"]


def test_breaker_opens_and_closes(repository: Path) -> None:
    """After failures in a row the server is not asked; when the time is over one question is, and success closes it."""
    now = [0.0]
    with serving(Misbehaviour.SERVER_ERROR, Misbehaviour.SERVER_ERROR, GOOD) as server:
        model = _model(server, repository, breaker=Breaker(2, 60.0, lambda: now[0]))

        def ask() -> Proposal:
            return decide(alert(), CONTEXT, ENTRIES, (WEB,), model=model)

        assert [ask().agreement for _ in range(3)] == [Agreement.MODEL_FAILED] * 3
        assert (len(server.requests), model.resting) == (2, True)
        now[0] = 61.0
        assert ask().agreement is Agreement.AGREED
        assert (len(server.requests), model.resting) == (3, False)


def test_nobody_listens(repository: Path) -> None:
    """A refused connection is a failed model; where nothing matches, a person."""
    with serving(GOOD) as server:
        pass
    model = _model(server, repository)
    proposal = decide(alert("Odd"), CONTEXT, ENTRIES, (WEB,), model=model)
    assert (proposal.choice, proposal.agreement) == (Choice.ESCALATE, Agreement.MODEL_FAILED)


def test_unknown_provider_is_a_failed_model(repository: Path) -> None:
    """A provider that LangChain does not know fails as a model, not as a program."""
    prompts = Prompts(repository / "prompts")
    model = ChatModel(
        name="m", provider="nobody", base_url="", api_key=KEY, deadline_s=30, prompts=prompts, breaker=Breaker(3, 60, time.monotonic)
    )
    with pytest.raises(ModelUnavailable, match="could not be asked: ValueError"):
        model.choose(alert(), CONTEXT, [entry()], [WEB], ())


@pytest.mark.parametrize("how", [Misbehaviour.SERVER_ERROR, Misbehaviour.TOO_MANY, Misbehaviour.RESET, Misbehaviour.NOT_JSON_BODY])
def test_key_is_in_no_message_and_no_log(how: Misbehaviour, repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A failure tells its kind; the key is in no exception down the chain and in no log line."""
    caplog.set_level(logging.DEBUG, "orchestrator")
    with serving(how) as server, pytest.raises(ModelUnavailable) as caught:
        _model(server, repository).choose(alert(), CONTEXT, [entry()], [WEB], ())
    error: BaseException | None = caught.value
    assert caught.value.__cause__ is None
    while error:
        assert KEY not in f"{error!r}"
        error = error.__context__
    assert KEY not in caplog.text


def test_server_writes_what_mistral_writes() -> None:
    """The stand-in's answer has the fields that the client reads."""
    body = json.loads(completion("x", "length"))
    assert (body["choices"][0]["finish_reason"], body["choices"][0]["message"]["content"]) == ("length", "x")
