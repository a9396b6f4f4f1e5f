"""The table "Who decides", row by row."""

from __future__ import annotations

import pytest
from deciding import CONTEXT, OTHER, WEB, FakeModel, alert, catalogue, disk_entry, entry, said

from orchestrator.decide import decide
from orchestrator.model import Agreement, Alternative, Choice, Claim, Context, Proposal, Reason, Targets

ENTRIES = catalogue(entry(), disk_entry())
NONE = {"entry": "", "hosts": (), "parameters": {}}


def _decide(answer=None, *, model=True, about=None, context=CONTEXT, **more) -> Proposal:
    return decide(about or alert(), context, ENTRIES, (WEB,), model=FakeModel(answer) if model else None, **more)


def test_same_entry_hosts_and_parameters_agree() -> None:
    """Matcher and model name the same: the policy may run it."""
    proposal = _decide(said(claims=(Claim("The probe fails.", ("prom-1", "prom-9")),)))
    assert (proposal.choice, proposal.agreement, proposal.entry) == (Choice.RUN, Agreement.AGREED, "restart_service")
    assert proposal.hosts == ("web-01",)
    assert proposal.prompt_digest == "p" * 64
    assert proposal.claims == (Claim("The probe fails.", ("prom-1",)),), "a citation that does not exist is dropped"


def test_model_alone_stands_for_itself() -> None:
    """No matcher fires: the model's entry is marked as its alone, with the origin of each value."""
    proposal = _decide(said(), about=alert("Odd"))
    assert (proposal.choice, proposal.agreement, proposal.engine) == (Choice.RUN, Agreement.MODEL_ALONE, "fake-model")
    assert dict(proposal.origins) == {"restart_service_name": "labels.service", "restart_service_port": "default"}
    assert proposal.reason is None


def test_model_names_another_entry() -> None:
    """Matcher and model differ: the matchers' proposal stands, the model's stands beside it."""
    answer = said(entry="clear_disk", parameters={"clear_disk_path": "/var", "clear_disk_what": "cache"})
    proposal = _decide(answer, about=alert(mountpoint="/var"))
    assert (proposal.choice, proposal.agreement, proposal.entry) == (Choice.RUN, Agreement.DIFFER, "restart_service")
    first = proposal.alternatives[0]
    assert (first.entry, first.hosts, first.parameters["clear_disk_what"]) == ("clear_disk", ("web-01",), "cache")


def test_fewer_hosts_differ() -> None:
    """The same entry on fewer hosts is a difference, the model's hosts stand beside the matchers'."""
    wide = catalogue(entry(targets=Targets(max_hosts=2)))
    proposal = decide(alert(), CONTEXT, wide, (WEB, OTHER), model=FakeModel(said()))
    assert (proposal.agreement, proposal.hosts) == (Agreement.DIFFER, ("web-01", "web-02"))
    assert (proposal.alternatives[0].entry, proposal.alternatives[0].hosts) == ("restart_service", ("web-01",))


@pytest.mark.parametrize("choice", [Choice.NONE, Choice.ESCALATE])
def test_model_refuses_where_a_matcher_fired(choice: Choice) -> None:
    """A model that says none or escalate against a matcher differs: a person sees both."""
    proposal = _decide(said(choice=choice, **NONE))
    assert (proposal.choice, proposal.agreement) == (Choice.RUN, Agreement.DIFFER)
    assert proposal.alternatives[0].entry == choice.value


@pytest.mark.parametrize("more", [{}, {"failure": "no key"}])
def test_model_failed(more: dict[str, str]) -> None:
    """A model that fails, or cannot be asked at all, leaves the matchers' proposal, marked."""
    proposal = _decide(None, model=not more, **more)
    assert (proposal.choice, proposal.agreement, proposal.entry) == (Choice.RUN, Agreement.MODEL_FAILED, "restart_service")
    assert "no usable answer" in proposal.claims[-1].text


def test_model_failed_and_nothing_matches() -> None:
    """Without matcher and model nobody has judged the alert: a person does."""
    proposal = _decide(None, about=alert("Odd"))
    assert (proposal.choice, proposal.reason, proposal.agreement) == (Choice.ESCALATE, Reason.MODEL_FAILED, Agreement.MODEL_FAILED)


def test_matchers_by_the_owners_choice() -> None:
    """Without a model the matchers' proposal is complete: hosts, values, origins and one sentence."""
    proposal = _decide(model=False)
    assert (proposal.choice, proposal.agreement, proposal.engine) == (Choice.RUN, Agreement.MATCHERS, "matchers")
    assert dict(proposal.parameters) == {"restart_service_name": "nginx", "restart_service_port": 0}
    assert dict(proposal.origins) == {"restart_service_name": "labels.service", "restart_service_port": "default"}
    assert proposal.summary == "Restart nginx on web-01: ServiceDown fired and the entry restart_service matches."


@pytest.mark.parametrize("answer", ["none", "agree", "fail"])
@pytest.mark.parametrize("read", [False, True])
def test_rule_unread_asks_a_person(answer: str, read: bool) -> None:
    """With Prometheus configured and no rule at hand, whatever could have run alone is marked."""
    context = Context(CONTEXT.evidence)
    proposal = _decide(said() if answer == "agree" else None, model=answer != "none", context=context, rule_read=read)
    assert (proposal.choice, proposal.agreement) == (Choice.RUN, Agreement.RULE_UNREAD)


def test_rule_unread_does_not_hide_a_difference() -> None:
    """A disagreement is the stronger word: it stays when the rule is not known either."""
    proposal = _decide(said(choice=Choice.NONE, **NONE), context=Context(), rule_read=False)
    assert proposal.agreement is Agreement.DIFFER


def test_no_prometheus_needs_no_rule() -> None:
    """Where no Prometheus is configured a missing rule changes nothing."""
    assert _decide(model=False, context=Context()).agreement is Agreement.MATCHERS


def test_no_host_escalates_without_asking() -> None:
    """An alert without inventory host goes to a person, and the model is not asked."""
    model = FakeModel(said())
    proposal = decide(alert(instance="gone:1"), CONTEXT, ENTRIES, (), model=model)
    assert (proposal.choice, proposal.reason) == (Choice.ESCALATE, Reason.NO_TARGET)
    assert "'gone'" in proposal.summary
    assert model.asked == []


def test_nothing_fits_suggests_only() -> None:
    """Nothing matches: none, with the entries nearest in words as suggestions."""
    proposal = _decide(model=False, about=alert("FilesystemAlmostFull", {"summary": "Disk space of /var runs out"}, mountpoint="/var"))
    assert (proposal.choice, proposal.reason, proposal.entry) == (Choice.NONE, Reason.NO_ENTRY, "")
    assert proposal.alternatives[0].entry == "clear_disk"
    assert "similar" in proposal.alternatives[0].why_not


def test_none_and_none_agree() -> None:
    """Neither matcher nor model has an entry: none, agreed."""
    proposal = _decide(said(choice=Choice.NONE, **NONE), about=alert("Odd"))
    assert (proposal.choice, proposal.agreement, proposal.reason) == (Choice.NONE, Agreement.AGREED, Reason.NO_ENTRY)


def test_model_wants_a_person() -> None:
    """The model asks for a person where no matcher fires: escalated."""
    proposal = _decide(said(choice=Choice.ESCALATE, **NONE), about=alert("Odd"))
    assert (proposal.choice, proposal.reason) == (Choice.ESCALATE, Reason.NO_ENTRY)


def test_model_against_matchers_that_cannot_run() -> None:
    """Two entries match equally well and the model names one: shown as a difference, never as an agreement."""
    both = catalogue(entry(), entry("kill_process"))
    proposal = decide(alert(), CONTEXT, both, (WEB,), model=FakeModel(said()))
    assert (proposal.choice, proposal.agreement, proposal.entry) == (Choice.RUN, Agreement.DIFFER, "restart_service")
    assert [item.entry for item in proposal.alternatives] == ["kill_process"]


@pytest.mark.parametrize(
    "fields",
    [
        {"hosts": ("web-02",)},
        {"hosts": ("web-01", "web-02")},
        {"hosts": ()},
        {"hosts": ("web-01", "web-01")},
        {"hosts": ("all",)},
        {"entry": "rollback_all"},
        {"entry": "clear_disk", "parameters": {"clear_disk_path": "/", "clear_disk_what": "logs"}},
        {"parameters": {"restart_service_name": "sshd", "restart_service_port": 0}},
        {"parameters": {"restart_service_name": "redis.service", "restart_service_port": 0}},
        {"parameters": {"restart_service_name": "nginx; reboot", "restart_service_port": 0}},
        {"parameters": {"restart_service_name": "nginx", "restart_service_port": 22}},
        {"parameters": {"restart_service_name": "nginx", "restart_service_port": False}},
        {"parameters": {"restart_service_name": "nginx"}},
        {"parameters": {"restart_service_name": "nginx", "restart_service_port": 0, "ansible_connection": "local"}},
        {"choice": Choice.NONE},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["ServiceDown", "Odd"])
def test_disobedient_answer_is_refused(fields: dict, name: str) -> None:
    """An answer outside catalogue, hosts or labels counts as no answer: the matchers' word or a person."""
    proposal = _decide(said(**fields), about=alert(name))
    assert proposal.agreement is Agreement.MODEL_FAILED
    if name == "ServiceDown":
        assert (proposal.entry, proposal.hosts, proposal.parameters["restart_service_name"]) == ("restart_service", ("web-01",), "nginx")
    else:
        assert (proposal.choice, proposal.entry) == (Choice.ESCALATE, "")


def test_model_sees_only_what_could_run() -> None:
    """The shortlist holds no entry that was tried or has no value for a parameter; matching entries come first."""
    model = FakeModel(said())
    decide(alert(), CONTEXT, catalogue(disk_entry(), entry("kill_process"), entry()), (WEB,), model=model, tried=("kill_process",))
    assert model.asked == [("restart_service",)]


def test_models_alternatives_are_names_only() -> None:
    """What the model says of other entries is kept as words; hosts and values of its own are dropped."""
    answer = said(alternatives=(Alternative("clear_disk", "no\x1b[2J disk", ("web-02",), {"x": 1}), Alternative("rm_rf", "faster")))
    proposal = _decide(answer)
    assert proposal.alternatives == (Alternative("clear_disk", "no [2J disk"),)
