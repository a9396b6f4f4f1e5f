"""No value gets past the spec, and no name past the host's allow-list."""

from __future__ import annotations

import re

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.catalogue import block_schema, check_names, check_parameters, schema
from orchestrator.model import Entry, EntryKind, Host, Parameter

CALM = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])  # a slow machine fails nothing


PARAMETERS = (
    Parameter("x_name", "str", required=True, pattern=r"[a-z0-9][a-z0-9@._-]{0,63}", allow_list="recoverable_services"),
    Parameter("x_any", "str", pattern=r"[\s\S]*"),
    Parameter("x_word", "str", choices=("one", "two")),
    Parameter("x_port", "int", minimum=0, maximum=65535, default=0),
    Parameter("x_count", "int"),
    Parameter("x_share", "float", minimum=0, maximum=1),
    Parameter("x_flag", "bool"),
    Parameter("x_paths", "list", pattern="/[a-z/]*", allow_list="recoverable_paths"),
)
ENTRY = Entry("x", "X", "", EntryKind.REMEDIATION, "/x", "d", parameters=PARAMETERS)
GOOD = {"x_name": "nginx", "x_any": "a b;c", "x_word": "two", "x_port": 80, "x_share": 0.5, "x_flag": True, "x_paths": ["/a", "/b/c"]}


def test_good_values_pass():
    """What the spec allows is allowed."""
    assert check_parameters(ENTRY, GOOD) == []
    assert check_parameters(ENTRY, {"x_name": "a", "x_share": 1, "x_count": -5}) == []
    jsonschema.Draft202012Validator(schema(ENTRY)).validate(GOOD)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_port", True),
        ("x_port", "80"),
        ("x_port", 80.0),
        ("x_port", -1),
        ("x_port", 65536),
        ("x_port", None),
        ("x_count", 10**400),
        ("x_share", False),
        ("x_share", float("nan")),
        ("x_share", float("inf")),
        ("x_share", 10**400),
        ("x_share", 1.1),
        ("x_flag", 1),
        ("x_flag", "true"),
        ("x_name", "nginx\n"),
        ("x_name", "-nginx"),
        ("x_name", "nginx; id"),
        ("x_name", ""),
        ("x_name", ["nginx"]),
        ("x_name", b"nginx"),
        ("x_any", "{{ lookup('pipe', 'id') }}"),
        ("x_any", "{% raw %}"),
        ("x_any", "{# x #}"),
        ("x_any", "a\x00b"),
        ("x_any", "a\nb"),
        ("x_any", "a\x1b[0m"),
        ("x_any", "a\u202eb"),
        ("x_any", "a\u2028b"),
        ("x_any", "\ud800"),
        ("x_any", "x" * 1025),
        ("x_word", "three"),
        ("x_word", "one\n"),
        ("x_paths", "/a"),
        ("x_paths", ["/a", 1]),
        ("x_paths", ["/a", "b"]),
        ("x_paths", ["/a\n"]),
        ("x_paths", ["/a"] * 65),
        ("x_paths", {"/a": 1}),
        ("x_unknown", "a"),
        ("ansible_connection", "local"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_bad_value_is_refused(name, value):
    """Types are strict, patterns fit whole, nothing unseen or templated gets through, unknown names least of all."""
    problems = check_parameters(ENTRY, {"x_name": "nginx", name: value})
    assert problems
    assert all(name in problem and problem.isprintable() for problem in problems)


def test_a_number_too_long_to_be_written_is_refused():
    """Python itself refuses to print it, so no message may try."""
    assert check_parameters(ENTRY, {"x_name": "nginx", "x_count": -(10**5000), "x_share": 10**5000, "x_word": 10**5000})


def test_a_missing_required_parameter_is_told():
    """A run never starts with less than it needs."""
    assert check_parameters(ENTRY, {}) == ["x_name is missing"]


@CALM
@given(st.text(max_size=80))
def test_no_hostile_text_gets_through(text):
    """What passes holds no template mark, no control character, and fits the pattern whole."""
    if not check_parameters(ENTRY, {"x_name": "a", "x_any": text}):
        assert not re.search(r"\{[{%#]|[\x00-\x1f\x7f-\x9f]", text)
    if not check_parameters(ENTRY, {"x_name": text}):
        assert re.fullmatch(r"[a-z0-9][a-z0-9@._-]{0,63}", text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@CALM
@given(st.dictionaries(st.sampled_from([one.name for one in PARAMETERS] + ["y"]), JSON, max_size=4))
def test_any_json_gets_an_answer_and_never_more_than_the_schema_allows(parameters):
    """The check never raises, and what it lets through, the JSON Schema lets through too."""
    if not check_parameters(ENTRY, parameters):
        jsonschema.Draft202012Validator(schema(ENTRY)).validate(parameters)


def test_names_have_to_be_on_every_host_s_list():
    """One host that does not list it is enough to refuse; the host is named."""
    one = Host("web1", variables={"recoverable_services": ["nginx"], "recoverable_paths": ["/a", "/b/c"]})
    two = Host("web2", variables={"recoverable_services": ["redis"], "recoverable_paths": ["/a", "/b/c"]})
    assert check_names(ENTRY, GOOD, [one]) == []
    problems = check_names(ENTRY, GOOD, [one, two])
    assert len(problems) == 1
    assert problems[0].startswith("web2: x_name='nginx'")
    assert check_names(ENTRY, {"x_name": "nginx", "x_paths": ["/a", "/etc"]}, [one]) == [
        "web1: x_paths='/etc' is not in its recoverable_paths"
    ]


@pytest.mark.parametrize("listed", [None, "nginx", {"nginx": 1}, [], ["Nginx"], ["nginx "], ["nginx*"]])
def test_a_list_that_is_none_allows_nothing(listed):
    """A text is no list: `nginx-admin` would else allow `nginx`."""
    variables = {} if listed is None else {"recoverable_services": listed}
    assert check_names(ENTRY, {"x_name": "nginx"}, [Host("web1", variables=variables)])


def test_without_a_host_nothing_is_allowed():
    """No host is no permission."""
    assert check_names(ENTRY, {"x_name": "nginx"}, [])


def test_a_default_counts_as_named():
    """What the role would act on without being told has to be on the list, too."""
    entry = Entry(
        "x",
        "X",
        "",
        EntryKind.REMEDIATION,
        "/x",
        "d",
        parameters=(Parameter("x_path", "str", default="/etc", pattern="/.*", allow_list="recoverable_paths"),),
    )
    assert check_names(entry, {}, [Host("web1")]) == ["web1: x_path='/etc' is not in its recoverable_paths"]


def test_both_schemas_are_schemas():
    """What is published can be used by others' tools."""
    jsonschema.Draft202012Validator.check_schema(schema(ENTRY))
    jsonschema.Draft202012Validator.check_schema(block_schema())
    assert schema(ENTRY)["additionalProperties"] is False
    assert block_schema()["additionalProperties"] is False
    assert "from" in block_schema()["$defs"]["TargetsBlock"]["properties"]
