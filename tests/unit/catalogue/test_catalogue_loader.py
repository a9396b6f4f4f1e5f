"""A good entry loads whole; a bad one is listed with every reason and takes no other down."""

from __future__ import annotations

import copy
import shutil

import pytest
import yaml

from orchestrator.catalogue import load
from orchestrator.catalogue.loader import load_folder
from orchestrator.catalogue.plays import Shelf
from orchestrator.errors import CatalogueError
from orchestrator.model import CheckMode, EntryKind, Risk, UndoPolicy

OPTION = {"type": "str", "pattern": "[a-z]+"}


def test_the_example_of_the_reference_loads(shop):
    """What the reference shows can be written as it stands."""
    catalogue = shop.load()
    assert catalogue.broken == ()
    entry = catalogue.entries["restart_service"]
    assert (entry.kind, entry.risk, entry.check_mode) == (EntryKind.REMEDIATION, Risk.LOW, CheckMode.PARTIAL)
    assert entry.title == "Restart one service"
    assert entry.matchers == (('alertname=~"ServiceDown|InstanceDown"', 'service=~".+"'),)
    assert (entry.targets.source, entry.targets.groups, entry.targets.max_hosts) == ("labels.instance", ("recoverable",), 1)
    assert entry.verify.promql == ('probe_success{instance="$instance"} == 1',)
    assert (entry.timeout_s, entry.cooldown_s, entry.order) == (120, 300, 100)
    assert (entry.diagnostics, entry.approvers, entry.owners, entry.roles) == (
        ("host_state",),
        ("oncall",),
        ("platform",),
        ("restart_service",),
    )
    assert (entry.undo, entry.undo_policy, entry.read_as_root) == ("", UndoPolicy.NONE, False)
    name, port = entry.parameters
    assert (name.name, name.required, name.sources, name.allow_list) == (
        "restart_service_name",
        True,
        ("labels.service",),
        "recoverable_services",
    )
    assert (port.type, port.default, port.minimum, port.maximum, port.allow_list) == ("int", 0, 0, 65535, "")


def option(name="restart_service_x", **keys):
    def edit(meta, spec):
        spec["options"][name] = keys

    return edit


def block(**keys):
    def edit(meta, spec):
        spec["catalogue"].update(keys)
        for key in [key for key, value in keys.items() if value is None]:
            del spec["catalogue"][key]

    return edit


def top(**keys):
    return lambda meta, spec: meta.update(keys)


REFUSED = {
    "an unknown key of the file": (top(nonsense=1), "nonsense"),
    "an unknown key of the spec": (lambda meta, spec: spec.update(nonsense=1), "nonsense"),
    "an unknown key of the block": (block(nonsense=1), "catalogue.nonsense"),
    "an unknown key of targets": (block(targets={"from": "labels.instance", "nonsense": 1}), "targets.nonsense"),
    "an unknown key of an option": (option(**OPTION, nonsense=1), "restart_service_x.nonsense"),
    "aliases, which would let in other names": (option(**OPTION, aliases=["ansible_host"]), "aliases"),
    "a string with neither choices nor pattern": (option(type="str"), "neither choices nor pattern"),
    "a string by default": (option(description="x"), "neither choices nor pattern"),
    "a list with neither choices nor pattern": (option(type="list", elements="str"), "neither choices nor pattern"),
    "type raw": (option(type="raw"), "'raw' is refused"),
    "type json": (option(type="json"), "'json' is refused"),
    "type bytes": (option(type="bytes"), "'bytes' is refused"),
    "type path, which expands our environment": (option(type="path"), "'path' is refused"),
    "a dict without options": (option(type="dict"), "'dict' is refused"),
    "a list of dicts": (option(type="list", elements="dict", pattern="x"), "'dict' is refused"),
    "a name that does not start with the id": (option("name", **OPTION), "does not start with"),
    "a name that steers Ansible": (option("ansible_connection", **OPTION), "does not start with"),
    "a thing on the host without an allow-list": (option("restart_service_path", **OPTION, allow_list=""), "names a thing on the host"),
    "an allow-list that is no name": (option(**OPTION, allow_list="a b"), "no inventory variable"),
    "a value from an annotation": (option(**{**OPTION, "from": "annotations.service"}), "from a label only"),
    "a pattern that does not compile": (option(type="str", pattern="("), "no regular expression"),
    "a default its own pattern refuses": (option(**OPTION, default="A;b"), "does not fit"),
    "a default of another type": (option(type="int", default="1"), "is no int"),
    "a required parameter with a default": (option(**OPTION, required=True, default="a"), "has a default"),
    "choices of another type": (option(type="int", choices=["a"]), "is no int"),
    "a bound on a string": (option(**OPTION, minimum=1), "no bound"),
    "a remediation without verify": (block(verify=None), "needs verify"),
    "a kind that does not exist": (block(kind="magic"), "catalogue.kind"),
    "no kind": (block(kind=None), "catalogue.kind"),
    "no use_when": (block(use_when=[]), "use_when"),
    "a matcher that is none": (block(matchers=[["alertname"]]), "is no matcher"),
    "an empty line of matchers": (block(matchers=[[]]), "without labels"),
    "a line that fits everything": (block(matchers=[['alertname!="x"']]), "without labels"),
    "reversible without an undo": (block(reversible=True), "needs undo"),
    "an undo that is not reversible": (block(undo="undo.yml"), "allows neither"),
    "an undo that is not there": (block(reversible=True, undo="undo.yml", undo_policy="offer"), "undo.yml: there is no such file"),
    "a verify playbook outside the folder": (block(verify={"playbook": "../x.yml"}), "verify.playbook"),
    "a time of zero": (block(timeout_s=0), "timeout_s"),
    "a target that is no label": (block(targets={"from": "annotations.host"}), "targets"),
    "no catalogue block": (lambda meta, spec: spec.pop("catalogue"), "catalogue: it is missing"),
    "another entry's spec": (top(argument_specs={"other": {}}), "exactly this entry"),
    "options that are a list": (lambda meta, spec: spec.update(options=["x"]), "no mapping"),
    "an option that is text": (lambda meta, spec: spec["options"].update(restart_service_x="str"), "no mapping"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_reference_refuses_is_refused(shop, case):
    """Each is refused with file, field and mend, and the other entry still loads."""
    edit, words = REFUSED[case]
    shop.add("good_one", matchers=[["alertname=Other"]])
    shop.change(edit)
    assert words in shop.problems()
    assert all("restart_service/" in line and " Mend: " in line for line in shop.problems().splitlines())
    assert list(shop.load().entries) == ["good_one"]


def test_every_problem_is_listed_at_once(shop):
    """Nobody mends one problem only to meet the next."""
    shop.change(option(type="raw"))
    shop.change(block(kind="magic", risk="none"))
    (shop.entry / "playbook.yml").write_text("[", encoding="utf-8")
    found = shop.problems()
    assert all(words in found for words in ("'raw'", "catalogue.kind", "catalogue.risk", "playbook.yml"))


PLAYBOOKS = {
    "no YAML": "a: [",
    "an empty file": "",
    "a mapping": "hosts: all",
    "text": "hello",
    "two plays": "- hosts: all\n- hosts: all\n",
    "another playbook imported": "- import_playbook: other.yml\n",
    "no hosts": "- name: x\n  roles: [restart_service]\n",
    "a role that is not there": "- hosts: all\n  roles: [gone]\n",
    "a role outside the folder": "- hosts: all\n  roles: [../restart_service]\n",
    "a role named by a template": "- hosts: all\n  roles: ['{{ x }}']\n",
    "a key written twice": "- hosts: all\n  hosts: web\n  roles: [restart_service]\n",
    "tasks that are text": "- hosts: all\n  tasks: restart\n",
    "a task with two modules": "- hosts: all\n  tasks:\n    - {ansible.builtin.debug: {}, ansible.builtin.ping: {}}\n",
    "an include outside the folder": "- hosts: all\n  tasks:\n    - ansible.builtin.include_tasks: ../x.yml\n",
    "an include named by a template": "- hosts: all\n  tasks:\n    - ansible.builtin.include_tasks: '{{ x }}'\n",
    "deep nesting": "- hosts: all\n  vars: " + "[" * 3000 + "]" * 3000 + "\n",
    "no UTF-8": b"- hosts: \xff\n",
    "a Python object": "- hosts: !!python/object/apply:os.system [id]\n",
}


@pytest.mark.parametrize("case", PLAYBOOKS)
def test_a_playbook_that_does_not_parse_breaks_only_its_entry(shop, case):
    """Whatever stands in a file, loading the catalogue does not raise."""
    shop.add("good_one", matchers=[["alertname=Other"]])
    text = PLAYBOOKS[case]
    (shop.entry / "playbook.yml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "playbook.yml" in shop.problems()
    assert list(shop.load().entries) == ["good_one"]


@pytest.mark.parametrize("name", ["playbook.meta.yml", "playbook.yml", "verify.yml"])
def test_a_missing_file_breaks_the_entry(shop, name):
    """An entry is whole or broken."""
    (shop.entry / name).unlink()
    assert f"{name}: there is no such file" in shop.problems()


def test_a_key_written_twice_in_the_spec_is_refused(shop):
    """YAML would silently take the last: a second `risk: low` could hide the first."""
    file = shop.entry / "playbook.meta.yml"
    file.write_text(file.read_text(encoding="utf-8") + "      risk: high\n", encoding="utf-8")
    assert "written twice" in shop.problems()


def test_links_and_roles_of_its_own_are_refused(shop):
    """Both would run something that the digest does not cover, or hide what it covers."""
    (shop.entry / "link.yml").symlink_to("/etc/hostname")
    (shop.entry / "roles").mkdir()
    assert "symbolic links" in shop.problems()
    assert "roles of its own" in shop.problems()


@pytest.mark.parametrize("name", ["Upper", "with-dash", "9lives", "ansible_x"])
def test_a_folder_that_is_no_id_is_broken(shop, name):
    """The id begins every parameter's name, so it must be one, and none of Ansible's own."""
    shutil.copytree(shop.entry, shop.path / name)
    assert "is no id" in shop.problems(name)


def test_hidden_folders_and_files_are_no_entries(shop):
    """A README and git's own folders stand beside entries."""
    (shop.path / ".git").mkdir()
    (shop.path / "README.md").write_text("x", encoding="utf-8")
    assert list(shop.load().entries) == ["restart_service"]
    assert shop.load().broken == ()


def test_a_missing_catalogue_is_an_error(tmp_path):
    """A mistyped path is no empty catalogue."""
    with pytest.raises(CatalogueError, match="no such folder"):
        load(tmp_path / "gone", tmp_path)


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("x", {"from": "labels.service"}, "recoverable_services"),
        ("name", {"from": ["labels.job", "labels.name"]}, "recoverable_services"),
        ("u", {"from": "labels.unit"}, "recoverable_services"),
        ("service", {}, "recoverable_services"),
        ("unit", {}, "recoverable_services"),
        ("path", {}, "recoverable_paths"),
        ("directory", {}, "recoverable_paths"),
        ("folder", {}, "recoverable_paths"),
        ("mount", {}, "recoverable_paths"),
        ("log_file", {}, "recoverable_paths"),
        ("process", {}, "recoverable_processes"),
        ("certificate", {}, "recoverable_certificates"),
        ("word", {}, ""),
        ("word", {"allow_list": "recoverable_words"}, "recoverable_words"),
        ("path", {"allow_list": "recoverable_logs"}, "recoverable_logs"),
    ],
)
def test_a_parameter_that_names_a_thing_has_its_allow_list(shop, name, keys, expected):
    """Nobody has to remember the allow-list: name and origin tell it, or the option says it."""
    shop.change(option(f"restart_service_{name}", **OPTION, **keys))
    found = {one.name: one.allow_list for one in shop.load().entries["restart_service"].parameters}
    assert found[f"restart_service_{name}"] == expected


def test_the_digest_covers_the_folder_and_every_role_it_uses(shop):
    """An approval is bound to it: any changed byte of what could run changes it, nothing else does."""
    other = shop.write(shop.roles / "other" / "tasks" / "main.yml", "[]")
    inner = shop.write(shop.roles / "inner" / "tasks" / "main.yml", "[]")
    shop.write(shop.roles / "restart_service" / "meta" / "main.yml", "dependencies: [inner]")
    seen = [shop.load().entries["restart_service"].digest]
    other.write_text("[ ]", encoding="utf-8")
    cache = shop.entry / "__pycache__" / "x.pyc"
    shop.write(cache, "x")
    assert shop.load().entries["restart_service"].digest == seen[0]
    for file in (inner, shop.entry / "verify.yml", shop.entry / "tests" / "a.yml", shop.roles / "restart_service" / "files" / "x"):
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text(encoding="utf-8") if file.exists() else "") + "\n# more\n", encoding="utf-8")
        seen.append(shop.load().entries["restart_service"].digest)
    (shop.roles / "restart_service" / "files" / "x").rename(shop.roles / "restart_service" / "files" / "y")
    seen.append(shop.load().entries["restart_service"].digest)
    assert len(set(seen)) == len(seen)
    assert shop.load().entries["restart_service"].roles == ("inner", "restart_service")


def test_the_digest_does_not_depend_on_where_the_catalogue_stands(shop, tmp_path):
    """A snapshot of the same content has the same digest."""
    before = shop.load()
    shutil.copytree(shop.path, tmp_path / "there" / "playbooks")
    shutil.copytree(shop.roles, tmp_path / "there" / "roles")
    after = load(tmp_path / "there" / "playbooks", tmp_path / "there" / "roles")
    assert after.entries["restart_service"].digest == before.entries["restart_service"].digest
    assert after.digest == before.digest


def test_roles_of_verify_and_undo_are_covered(shop):
    """What verifies and what takes back is approved together with what acts."""
    shop.write(shop.roles / "looker" / "tasks" / "main.yml", "- name: Look\n  ansible.builtin.ping:\n")
    shop.write(shop.roles / "taker" / "tasks" / "main.yml", "- name: Take\n  ansible.builtin.file: {path: /x, state: absent}\n")
    shop.write(shop.entry / "verify.yml", "- hosts: all\n  roles: [looker]\n")
    shop.write(shop.entry / "undo.yml", "- hosts: all\n  roles: [taker]\n")
    shop.change(block(reversible=True, undo="undo.yml", undo_policy="auto"))
    entry = shop.load().entries["restart_service"]
    assert entry.roles == ("looker", "restart_service", "taker")
    assert (entry.undo, entry.undo_policy) == ("undo.yml", UndoPolicy.AUTO)


JUNK = [None, True, -1, 1.5, "", "{{ x }}", [], {}, ["x"], [None], [[]], {1: 2}, {None: None}, [{"a": ["b"]}], 10**30, {"name": ["x"]}]


def places(value, here=()):
    """Yield the way to every value inside a YAML value."""
    yield here
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*here, key))


def put(value, place, junk):
    """Return a copy of a YAML value with something else at one place."""
    if not place:
        return junk
    changed = copy.copy(value)
    changed[place[0]] = put(value[place[0]], place[1:], junk)
    return changed


@pytest.mark.parametrize("name", ["playbook.meta.yml", "playbook.yml", "verify.yml", "../../roles/restart_service/tasks/main.yml"])
def test_nonsense_anywhere_is_a_problem_and_never_an_exception(shop, name):
    """Each value of each file is replaced by values of every other shape."""
    whole = yaml.safe_load((shop.entry / name).read_text(encoding="utf-8"))
    for number, place in enumerate(places(whole)):
        for junk in JUNK[number % 4 :: 4]:
            (shop.entry / name).write_text(yaml.safe_dump(put(whole, place, junk)), encoding="utf-8")
            assert "it cannot be read" not in shop.problems()


def test_an_error_of_our_own_breaks_only_the_entry(shop):
    """Even a mistake in the reading itself is listed, not raised."""

    class BrokenShelf(Shelf):
        def role(self, use):
            raise ZeroDivisionError("our own mistake")

    found = load_folder(shop.entry, BrokenShelf(shop.roles))
    assert found.entry is None
    assert "ZeroDivisionError: our own mistake" in str(found.problems[0])
