"""Choosing by matchers alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deciding import CONTEXT, OTHER, RULE, WEB, alert, catalogue, disk_entry, entry

from orchestrator.decide import decide
from orchestrator.decide.matchers import matching
from orchestrator.model import Choice, Context, EntryKind, Parameter, Proposal, Reason, Targets


def _decide(*entries, about=None, hosts=(WEB,), context=CONTEXT, **more) -> Proposal:
    return decide(about or alert(), context, catalogue(*entries), hosts, **more)


def test_smaller_order_wins() -> None:
    """Of two that match, the smaller order is chosen; the other is an alternative that says why, ready to run."""
    proposal = _decide(entry("zz_first", order=1), entry("aa_second", order=2))
    assert proposal.entry == "zz_first"
    other = proposal.alternatives[0]
    assert (other.entry, other.hosts, other.parameters["aa_second_name"]) == ("aa_second", ("web-01",), "nginx")
    assert "order 1 before 2" in other.why_not


def test_equal_order_is_a_conflict() -> None:
    """Two entries with the same best order go to a person, both shown."""
    proposal = _decide(entry("one"), entry("two"), entry("three", order=500))
    assert (proposal.choice, proposal.reason, proposal.entry) == (Choice.ESCALATE, Reason.CONFLICT, "")
    assert [item.entry for item in proposal.alternatives] == ["one", "two", "three"]


def test_tried_entries_are_not_chosen_again() -> None:
    """An entry that ran already gives way to the next; when all ran, none is left."""
    entries = entry("one", order=1), entry("two", order=2)
    second = _decide(*entries, tried=("one",))
    assert (second.entry, second.alternatives[0].entry) == ("two", "one")
    last = _decide(*entries, tried=("one", "two"))
    assert (last.choice, last.reason) == (Choice.NONE, Reason.NO_ENTRY)
    assert "tried already" in last.summary


def test_rule_template_chooses() -> None:
    """Matchers may name the rule's own expression, summary and description, line ends as blanks."""
    for line in ('rule_expr=~"probe_success == 0"', 'rule_summary=~".*is down"', 'rule_description="Probe fails."'):
        assert _decide(entry("one", (line,))).choice is Choice.RUN


def test_label_cannot_stand_for_the_rule() -> None:
    """A label called `rule_expr` is outside text: with the rule unknown it matches nothing."""
    hostile = alert(rule_expr="probe_success == 0", rule_summary="x is down")
    by_rule = entry("one", ('rule_expr=~".*probe_success.*"',), ('rule_summary=~".+"',))
    assert matching(hostile, Context(), catalogue(by_rule)) == ()


def test_rendered_annotations_never_choose() -> None:
    """Annotations, whatever their names, are no labels."""
    loud = alert("Odd", {"alertname": "ServiceDown", "rule_summary": "down", "summary": "ServiceDown on nginx"})
    assert matching(loud, CONTEXT, catalogue(entry())) == ()


def test_diagnostics_are_never_chosen() -> None:
    """Only remediations are proposed."""
    assert _decide(entry(kind=EntryKind.DIAGNOSTIC)).choice is Choice.NONE


def test_unreadable_matcher_chooses_nothing() -> None:
    """An entry with a broken matcher takes no other down."""
    assert _decide(entry("one", ("no matcher",)), entry("two")).entry == "two"


def test_overlong_label_matches_nothing() -> None:
    """A label too long for a pattern to be cheap goes to a person."""
    assert _decide(entry(), about=alert(note="x" * 5000)).choice is Choice.NONE


def test_host_outside_the_groups() -> None:
    """A host that is in none of the entry's groups: the next entry, else a person with the mend."""
    elsewhere = entry("one", order=1, targets=Targets(groups=("db",)))
    assert _decide(elsewhere, entry("two")).entry == "two"
    proposal = _decide(elsewhere)
    assert (proposal.choice, proposal.reason) == (Choice.ESCALATE, Reason.NOT_ALLOWED)
    assert "none of the groups db" in proposal.summary
    assert "Mend:" in proposal.summary


@pytest.mark.parametrize("node", ["", "web-02", "web-01", "web-01:9100"])
def test_hosts_come_from_the_label_that_the_entry_names(node: str) -> None:
    """An entry for the host in another label never runs on the machine whose exporter told of it."""
    drain = entry(targets=Targets("labels.node", ("web",)))
    proposal = _decide(drain, about=alert(node=node))
    assert (proposal.choice is Choice.RUN) == node.startswith("web-01")
    if proposal.choice is not Choice.RUN:
        assert (proposal.reason, proposal.hosts) == (Reason.NOT_ALLOWED, ())


def test_more_hosts_than_the_entry_takes() -> None:
    """Too many hosts for the entry go to a person; an entry that takes them runs on all."""
    assert _decide(entry(), hosts=(WEB, OTHER)).reason is Reason.BLAST_RADIUS
    wide = _decide(entry(targets=Targets(groups=("web",), max_hosts=2)), hosts=(WEB, OTHER))
    assert wide.hosts == ("web-01", "web-02")


def test_no_groups_means_any_host() -> None:
    """An entry without groups takes any inventory host."""
    assert _decide(entry(targets=Targets()), hosts=(replace(WEB, groups=()),)).choice is Choice.RUN


@pytest.mark.parametrize(
    ("labels", "value", "origin"),
    [
        ({"service": "nginx"}, "nginx", "labels.service"),
        ({"service": "nginx.service"}, "nginx", "labels.service"),
        ({"service": "redis.service"}, "redis.service", "labels.service"),
        ({"service": "", "name": "nginx.service"}, "nginx", "labels.name"),
        ({"service": "https://nginx/login"}, "nginx", "labels.service"),
        ({"service": "nginx:443"}, "nginx", "labels.service"),
    ],
    ids=str,
)
def test_service_as_the_allow_list_writes_it(labels: dict[str, str], value: str, origin: str) -> None:
    """The first label that is there gives the value, in the form that the host's allow-list holds."""
    proposal = _decide(entry("one", ('alertname="ServiceDown"',)), about=alert(**labels))
    assert (proposal.parameters["one_name"], proposal.origins["one_name"]) == (value, origin)


@pytest.mark.parametrize(
    "value",
    [
        "sshd",
        "nginx; reboot",
        "{{ 1 }}",
        "nginx\t",
        "-rf",
        "*",
        "nginx\u202e",
        "../nginx",
        "https://sshd/",
        "x@nginx:1:2",
        "https://nginx@sshd",
        "a" * 3000,
    ],
)
def test_unlisted_value_goes_to_a_person(value: str) -> None:
    """A value that pattern or allow-list refuses escalates, with parameter, value and mend on one line."""
    proposal = _decide(entry(), about=alert(service=value))
    assert (proposal.choice, proposal.reason, proposal.parameters) == (Choice.ESCALATE, Reason.NOT_ALLOWED, {})
    assert "restart_service_name" in proposal.summary
    assert proposal.summary.isprintable()
    assert len(proposal.summary) < 600


def test_value_must_be_allowed_on_every_host() -> None:
    """A path that one of two hosts does not list escalates."""
    two = disk_entry(targets=Targets(max_hosts=2))
    proposal = _decide(two, about=alert("DiskFull", mountpoint="/var"), hosts=(WEB, OTHER))
    assert proposal.reason is Reason.NOT_ALLOWED
    assert "web-02: clear_disk_path='/var' is not in its recoverable_paths. Mend:" in proposal.summary


def test_required_parameter_without_a_value() -> None:
    """A required parameter that no label gives escalates and names the label to add."""
    proposal = _decide(disk_entry(), about=alert("DiskFull"))
    assert (proposal.choice, proposal.reason) == (Choice.ESCALATE, Reason.NO_ENTRY)
    assert "clear_disk_path has no value. Mend: give the alert the label mountpoint." in proposal.summary


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [("int", "8080", 8080), ("float", "0.5", 0.5), ("bool", "true", True), ("list", "a", ["a"])],
)
def test_labels_are_read_as_the_parameter_type(kind: str, raw: str, value: object) -> None:
    """A label's text becomes the type that the entry declares."""
    typed = Parameter("one_x", kind, required=True, sources=("labels.x",), pattern="[a-z]" if kind == "list" else "")
    proposal = _decide(entry("one", parameters=(typed,)), about=alert(x=raw))
    assert proposal.parameters["one_x"] == value
    assert type(proposal.parameters["one_x"]) is type(value)


@pytest.mark.parametrize("raw", ["80a", "٣", "1e9", "9" * 30, "-", "nan", " 80"])
def test_odd_number_is_refused(raw: str) -> None:
    """A label that is no plain number is not made one."""
    number = Parameter("one_x", "int", required=True, sources=("labels.x",))
    assert _decide(entry("one", parameters=(number,)), about=alert(x=raw)).reason is Reason.NOT_ALLOWED


@pytest.mark.parametrize("source", ["annotations.summary", "service", "rule.expr"])
def test_only_labels_give_values(source: str) -> None:
    """A source that is no label gives nothing."""
    odd = Parameter("one_x", "str", required=True, pattern=".*", sources=(source,))
    proposal = _decide(entry("one", parameters=(odd,)), about=alert("ServiceDown", {"summary": "sshd"}))
    assert proposal.reason is Reason.NO_ENTRY


def test_same_input_same_proposal() -> None:
    """Choosing is a function: the same values give the same proposal."""
    once, again = (_decide(entry(), disk_entry(), context=Context(rule=RULE), clock=lambda: 0.0) for _ in range(2))
    assert once == again


def test_title_without_a_noun_shows_the_value() -> None:
    """A title that is no `verb one thing` keeps its words, with the values in brackets."""
    proposal = _decide(disk_entry(), about=alert("DiskFull", mountpoint="/var"))
    assert proposal.summary.startswith("Clear disk space (/var) on web-01: DiskFull fired")
