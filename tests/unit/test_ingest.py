"""Intake accepts or refuses, nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import NotAWebhook, NotJson
from orchestrator.ingest import MAX_ALERTS, MAX_RAW, MAX_VALUE, fingerprint, parse
from orchestrator.model import AlertGroup, AlertStatus

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "alertmanager"


def body(*alerts: object, **more: object) -> bytes:
    """Return a delivery of these alerts."""
    return json.dumps({"version": "4", "status": "firing", "alerts": list(alerts), **more}).encode()


def alert(**more: object) -> dict[str, object]:
    """Return one usable alert, some of its fields replaced."""
    return {"status": "firing", "labels": {"alertname": "Down", "instance": "web1:9100"}, **more}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, "cbf29ce484222325"),
        ({"a": "1"}, None),
        ({"b": "2", "a": "1"}, None),
    ],
)
def test_the_fingerprint_is_fnv_over_sorted_labels(labels: dict[str, str], expected: str | None) -> None:
    """A fingerprint is FNV-1a over names and values in the names' order, each closed by 0xff."""
    total = 0xCBF29CE484222325
    for byte in b"".join(f"{name}".encode() + b"\xff" + labels[name].encode() + b"\xff" for name in sorted(labels)):
        total = ((total ^ byte) * 0x100000001B3) % 2**64
    assert fingerprint(labels) == (expected or f"{total:016x}")


def test_the_fingerprint_is_what_alertmanager_sends() -> None:
    """A label set captured from Prometheus and Alertmanager has the fingerprint that they gave it."""
    labels = json.loads((FIXTURES / "captured-labels.json").read_text(encoding="utf-8"))
    assert labels
    for one in labels:
        assert fingerprint(one["labels"]) == one["fingerprint"]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("[!c]*.json")), ids=lambda path: path.stem)
def test_every_fixture_is_accepted_whole(path: Path) -> None:
    """A well-formed delivery loses no alert."""
    group = parse(path.read_bytes())
    assert len(group.alerts) == len(json.loads(path.read_bytes())["alerts"])
    assert group.rejected == ()


def test_a_delivery_is_read_field_by_field() -> None:
    """Times are aware UTC, Go's zero time is none, and each field comes where the model says."""
    group = parse((FIXTURES / "mixed-status.json").read_bytes())
    gone, fires = group.alerts
    assert (gone.status, fires.status) == (AlertStatus.RESOLVED, AlertStatus.FIRING)
    assert gone.ends_at == datetime(2026, 11, 20, 8, 5, tzinfo=UTC)
    assert fires.ends_at is None
    assert fires.starts_at == datetime(2026, 11, 20, 7, 1, 0, 123456, tzinfo=UTC)
    assert fires.labels["mountpoint"] == "/srv/Müll"
    assert fires.target == "db2"
    assert (group.receiver, group.status, group.group_key) == ("orchestrator", "firing", '{}:{alertname="DiskFull"}')
    assert group.external_url == "http://alertmanager.example:9093"
    assert group.received == 2


def test_grafanas_delivery_without_fingerprint_is_taken() -> None:
    """A missing fingerprint is computed, a numeric group key is text, and unknown fields do no harm."""
    group = parse((FIXTURES / "grafana-without-fingerprint.json").read_bytes())
    assert group.alerts[0].fingerprint == fingerprint(group.alerts[0].labels)
    assert group.alerts[0].starts_at is None
    assert group.group_key == "7"


@pytest.mark.parametrize(
    ("item", "check"),
    [
        (alert(labels={"instance": "web1"}), lambda one: one.name == ""),
        (
            alert(labels={"alertname": "A", "code": 500, "on": True, "none": None}),
            lambda one: dict(one.labels) == {"alertname": "A", "code": "500", "on": "true"},
        ),
        (alert(status=None), lambda one: one.status is AlertStatus.FIRING),
        (alert(status="RESOLVED"), lambda one: one.status is AlertStatus.RESOLVED),
        (alert(startsAt="%[2]s", endsAt=7), lambda one: one.starts_at is None and one.ends_at is None),
        (alert(startsAt="0001-01-01T00:00:00+14:00"), lambda one: one.starts_at is None),
        (alert(startsAt="2026-01-01T00:00:00"), lambda one: one.starts_at == datetime(2026, 1, 1, tzinfo=UTC)),
        (alert(annotations=["odd"]), lambda one: one.annotations == {}),
        (alert(annotations={"a": {"b": 1}, "c": None}), lambda one: one.annotations == {"a": '{"b": 1}'}),
        (alert(annotations={"a": "x" * (MAX_VALUE + 1)}), lambda one: len(one.annotations["a"]) == MAX_VALUE),
        (alert(fingerprint="B947F1D658296A8B"), lambda one: one.fingerprint == "b947f1d658296a8b"),
        (alert(fingerprint="pagerduty-001"), lambda one: one.fingerprint == fingerprint(one.labels)),
        (alert(fingerprint=12), lambda one: one.fingerprint == fingerprint(one.labels)),
        (alert(labels={"alertname": "a\x00b\ud800"}), lambda one: one.name == "a\ufffdb\ufffd"),
    ],
)
def test_what_senders_leave_out_or_bend_is_tolerated(item: dict[str, object], check) -> None:
    """An odd field that does not matter never costs the alert."""
    assert check(parse(body(item)).alerts[0])


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", "is a string, not an object"),
        (None, "is null, not an object"),
        ({}, "labels: is missing"),
        (alert(labels={}), "labels: is empty"),
        (alert(labels={"a": None}), "labels: is empty"),
        (alert(labels=[1]), "labels: is a list"),
        (alert(labels={"a": {"b": "c"}}), "labels.a: is an object, not text"),
        (alert(labels={"": "x"}), "the name ''"),
        (alert(labels={"n" * 2000: "x"}), "has 2000 characters"),
        (alert(labels={"a": "x" * (MAX_VALUE + 1)}), "labels.a: has 65537 characters"),
        (alert(labels={f"l{n}": "x" for n in range(600)}), "holds 600 labels"),
        (alert(status="active"), "status: is 'active'"),
        (alert(status=1), "status: is a number"),
    ],
)
def test_a_malformed_alert_is_kept_raw_and_the_others_go_on(item: object, reason: str) -> None:
    """One malformed alert is listed with its place, reason and raw text, bounded; its neighbours are taken."""
    group = parse(body(alert(), item, alert(labels={"alertname": "Other"})))
    assert [one.name for one in group.alerts] == ["Down", "Other"]
    (rejected,) = group.rejected
    assert rejected.index == 1
    assert reason in rejected.reason
    assert rejected.raw == json.dumps(item)[:MAX_RAW]


@pytest.mark.parametrize(
    ("data", "error", "word"),
    [
        (b"", NotJson, "not JSON"),
        (b"\xff\xfe", NotJson, "not UTF-8"),
        (b'{"alerts": [', NotJson, "not JSON"),
        (b'{"alerts": NaN}', NotJson, "NaN"),
        (b'{"alerts": 1' + b"0" * 5000 + b"}", NotJson, "not JSON"),
        (b"[" * 200_000, NotJson, "nested too deeply"),
        (b'{"alerts":' * 100_000, NotJson, "nested too deeply"),
        (b"null", NotAWebhook, "the body is null"),
        (b"[]", NotAWebhook, "the body is a list"),
        (b"true", NotAWebhook, "the body is a boolean"),
        (b'{"text": "hello"}', NotAWebhook, "alerts: is missing"),
        (b'{"alerts": "x"}', NotAWebhook, "alerts: is a string"),
        (b'{"alerts": []}', NotAWebhook, "alerts: is empty"),
        (b'{"alerts": [1, {}]}', NotAWebhook, "alerts[0]: is a number, not an object; alerts[1]: labels: is missing"),
        (b'{"alerts": [' + b"1," * MAX_ALERTS + b"1]}", NotAWebhook, "at most 50000"),
    ],
    ids=lambda value: value[:20].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_what_is_no_webhook_is_refused_with_a_mend(data: bytes, error: type[Exception], word: str) -> None:
    """A refusal names the field and the mend, and is one of two errors."""
    with pytest.raises(error, match="Mend: ") as caught:
        parse(data)
    assert word in str(caught.value)


def test_a_byte_order_mark_and_duplicate_keys_are_no_trap() -> None:
    """The last of two equal keys counts, as in Alertmanager's own language."""
    data = b'\xef\xbb\xbf{"alerts": [], "alerts": [{"labels": {"a": "1", "a": "2"}, "status": "firing"}]}'
    assert parse(data).alerts[0].labels == {"a": "2"}


def test_one_fingerprint_for_two_label_sets_is_computed_anew() -> None:
    """A sender that gives one fingerprint to different label sets does not merge them into one alert."""
    group = parse(body(alert(fingerprint="0" * 16), alert(fingerprint="0" * 16, labels={"alertname": "B"}), alert(fingerprint="1" * 16)))
    assert [one.fingerprint for one in group.alerts] == [fingerprint(one.labels) for one in group.alerts[:2]] + ["1" * 16]


def test_a_large_body_is_read() -> None:
    """A delivery of eight megabytes is taken whole."""
    items = [alert(labels={"alertname": f"A{n}"}, fingerprint=f"{n:016x}", annotations={"text": "x" * 8000}) for n in range(1000)]
    group = parse(body(*items, truncatedAlerts=3))
    assert len(group.alerts) == 1000
    assert group.truncated_alerts == 3


@pytest.mark.parametrize("value", [-1, True, "3", 2**40, None])
def test_an_odd_count_of_truncated_alerts_is_zero(value: object) -> None:
    """Only a plain positive number says that alerts were cut off."""
    assert parse(body(alert(), truncatedAlerts=value)).truncated_alerts == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
ALERT = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("labels", "status", "annotations", "startsAt", "endsAt", "fingerprint", "generatorURL"), JSON),
)
GROUP = st.fixed_dictionaries(
    {"alerts": st.lists(ALERT | JSON, max_size=4) | JSON},
    optional=dict.fromkeys(("status", "groupKey", "groupLabels", "receiver", "externalURL", "truncatedAlerts"), JSON),
)


def accepts_or_refuses(data: bytes) -> None:
    """Assert that `data` is accepted in a storable form, or refused."""
    try:
        group = parse(data)
    except (NotJson, NotAWebhook) as error:
        str(error).encode()
        return
    assert isinstance(group, AlertGroup)
    assert group.alerts
    for one in group.alerts:
        assert len(one.fingerprint) == 16
        assert one.labels
        assert one.starts_at is None or one.starts_at.utcoffset().total_seconds() == 0
        for text in (*one.labels, *one.labels.values(), *one.annotations, *one.annotations.values(), one.generator_url):
            text.encode()
            assert "\x00" not in text


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GROUP | JSON)
def test_any_json_is_accepted_or_refused(value: object) -> None:
    """Whatever JSON comes, it becomes a group or one of two errors."""
    accepts_or_refuses(json.dumps(value).encode())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_any_bytes_are_accepted_or_refused(data: bytes) -> None:
    """Whatever bytes come, they become a group or one of two errors."""
    accepts_or_refuses(data)


REFUSED = {
    "072-v4-alertmanager-graph-bridge-cluster-test.json": "alerts: is empty",
    "081-v4-alertmanager-gateway-usage-examples.json": "alerts: is empty",
    "093-vnone-opensre-test-alertmanager-e2e.json": "status: is 'active'",
    "113-vnone-zulip-alert-test-anomalous-notification.json": "alerts: is missing",
}


def test_real_payloads_are_accepted_or_refused_for_a_reason(shared_inputs: Path) -> None:
    """Of the public payloads only these are refused; all others lose no alert."""
    files = sorted((shared_inputs / "alertmanager").glob("*/*.json"))
    assert files
    for path in files:
        if path.name in REFUSED:
            with pytest.raises(NotAWebhook) as caught:
                parse(path.read_bytes())
            assert REFUSED[path.name] in str(caught.value)
        else:
            assert parse(path.read_bytes()).rejected == (), path.name


def test_captured_payloads_have_our_fingerprints(shared_inputs: Path) -> None:
    """What Alertmanager itself sent carries the fingerprints that we compute."""
    for path in sorted((shared_inputs / "alertmanager" / "captured").glob("*.json")):
        for one in parse(path.read_bytes()).alerts:
            assert fingerprint(one.labels) == one.fingerprint, path.name
