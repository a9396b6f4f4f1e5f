"""Hosts come from Ansible's own reading of the inventory, and a label means one host or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import inventory
from orchestrator.errors import InventoryError
from orchestrator.model import Host

HOSTS = """
all:
  children:
    site:
      children:
        web:
          hosts:
            web1.example.org: {prometheus_instance: "web1:9100", recoverable_services: [nginx]}
            web2: {ansible_host: 10.0.0.2, prometheus_instance: ["a:1", "b:2"]}
    db:
      hosts:
        db1:
"""


def write(folder: Path, text: str = HOSTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "hosts.yml"
    file.write_text(text, encoding="utf-8")
    return file


def made(*hosts: Host) -> inventory.Inventory:
    return inventory.Inventory({host.name: host for host in hosts}, {})


def test_groups_hold_the_hosts_of_nested_groups(tmp_path):
    """A host is in its group, in every group around it, and `all` holds every host."""
    found = inventory.load([write(tmp_path)])
    assert found.groups["site"] == ("web1.example.org", "web2")
    assert found.groups["all"] == ("db1", "web1.example.org", "web2")
    assert found.hosts["web2"].groups == ("site", "web")
    assert found.hosts["web1.example.org"].allows("recoverable_services", "nginx")
    assert found.problems == ()


def test_a_missing_path_never_reaches_ansible(tmp_path):
    """Ansible would take a path that is not there for a host's name."""
    with pytest.raises(InventoryError, match="no such file"):
        inventory.load([write(tmp_path), tmp_path / "gone"], python=str(tmp_path / "no-python"))
    with pytest.raises(InventoryError, match="is empty"):
        inventory.load([])


def test_ansible_missing_is_an_inventory_error(tmp_path):
    """An environment without Ansible is told as such."""
    with pytest.raises(InventoryError, match="ansible-inventory"):
        inventory.load([write(tmp_path)], python=str(tmp_path / "bin" / "python"))


def test_a_file_that_is_no_inventory_is_refused(tmp_path):
    """A broken inventory is an error, not an empty one."""
    with pytest.raises(InventoryError):
        inventory.load([write(tmp_path, "all: [\n")])


def fake_ansible(folder: Path, script: str) -> str:
    """Put a program called ansible-inventory into a folder and return the path of a python beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "ansible-inventory"
    program.write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
    program.chmod(0o755)
    return str(folder / "python")


def test_ansible_sees_nothing_of_our_environment(tmp_path, monkeypatch):
    """No secret of ours can be templated into a host variable."""
    monkeypatch.setenv("MISTRAL_API_KEY", "canary")
    script = "import json, os\nprint(json.dumps({'_meta': {'hostvars': {'h': dict(os.environ)}}, 'all': {'children': ['x']}, 'x': {'hosts': ['h']}}))"
    found = inventory.load([write(tmp_path)], python=fake_ansible(tmp_path / "bin", script))
    assert "canary" not in json.dumps(dict(found.hosts["h"].variables))
    assert "PATH" in found.hosts["h"].variables


def test_names_that_could_be_patterns_are_left_out(tmp_path):
    """A host's name becomes the limit of a run: `web*`, `a,b`, `-x` or a group's name must not."""
    names = ["ok-1.example_x", "web*", "a,b", "!web", "~x", "@/etc/passwd", "[::1]", "", "-x", "nl\n", "web"]
    answer = {"_meta": {"hostvars": {name: {} for name in names}}, "all": {"children": ["web"]}, "web": {"hosts": names}}
    found = inventory.load([write(tmp_path)], python=fake_ansible(tmp_path / "bin", f"print({json.dumps(answer)!r})"))
    assert list(found.hosts) == ["ok-1.example_x"]
    assert len(found.problems) == len(names) - 1
    assert found.groups["web"] == ("ok-1.example_x",)


@pytest.mark.parametrize("script", ["print('[]')", "print('no')", "import sys; sys.exit('it broke')"])
def test_nonsense_from_ansible_is_an_inventory_error(tmp_path, script):
    """Whatever the program says, it is an inventory or an error of ours."""
    with pytest.raises(InventoryError):
        inventory.load([write(tmp_path)], python=fake_ansible(tmp_path / "bin", script))


def test_groups_in_a_circle_end(tmp_path):
    """A circle of groups is read once around."""
    answer = {"_meta": {"hostvars": {"h": {}}}, "a": {"children": ["b"]}, "b": {"children": ["a"], "hosts": ["h"]}}
    found = inventory.load([write(tmp_path)], python=fake_ansible(tmp_path / "bin", f"print({json.dumps(answer)!r})"))
    assert found.groups["a"] == ("h",)


def test_the_cache_reads_again_when_a_file_changes(tmp_path):
    """A host added to a file is found without a restart, and nothing is read while nothing changes."""
    answer = "import json, pathlib\nh = pathlib.Path(r'{}').read_text().split()\nprint(json.dumps({{'_meta': {{'hostvars': {{x: {{}} for x in h}}}}, 'all': {{'hosts': h}}}}))"
    file = write(tmp_path / "inv", "web1")
    python = fake_ansible(tmp_path / "bin", answer.format(file))
    cache = inventory.InventoryCache([tmp_path / "inv"], python=python)
    first = cache.get()
    assert cache.get() is first
    file.write_text("web1 web2", encoding="utf-8")
    assert list(cache.get().hosts) == ["web1", "web2"]
    os.unlink(file)
    with pytest.raises(InventoryError):
        cache.get()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"instance": "web1:9100"}, "web1.example.org"),
        ({"instance": "a:1"}, "web2"),
        ({"instance": "b:2"}, "web2"),
        ({"instance": "10.0.0.2:9100"}, "web2"),
        ({"instance": "db1"}, "db1"),
        ({"instance": "db1:5432"}, "db1"),
        ({"instance": "https://db1:8443/health"}, "db1"),
        ({"nodename": "web1"}, "web1.example.org"),
        ({"instance": "web1.example.com:9100"}, None),
        ({"instance": "*"}, None),
        ({"instance": "all"}, None),
        ({"instance": "web"}, None),
        ({"instance": ""}, None),
        ({}, None),
    ],
)
def test_a_label_means_one_host_or_none(labels, expected):
    """Exact variable first, then the name, the address, the short name; never a pattern, never a group."""
    known = made(
        Host("web1.example.org", variables={"prometheus_instance": "web1:9100"}),
        Host("web2", variables={"ansible_host": "10.0.0.2", "prometheus_instance": ["a:1", "b:2"]}),
        Host("db1"),
    )
    found = inventory.host_for(known, labels)
    assert (found.name if found else None) == expected


def test_the_exact_variable_wins_over_the_name():
    """A host that claims the label is meant, even where another has the label's name."""
    known = made(Host("web1"), Host("other", variables={"scraped_as": "web1:9100"}))
    found = inventory.host_for(known, {"instance": "web1:9100"}, "scraped_as")
    assert found is not None
    assert found.name == "other"


@pytest.mark.parametrize(
    "hosts",
    [
        (Host("web1.a"), Host("web1.b")),
        (Host("x", variables={"ansible_host": "web1"}), Host("y", variables={"ansible_host": "web1"})),
        (Host("x", variables={"prometheus_instance": "web1:9100"}), Host("y", variables={"prometheus_instance": ["web1:9100"]})),
    ],
)
def test_an_ambiguous_label_is_refused_and_names_the_hosts(hosts):
    """Between two hosts nobody guesses."""
    with pytest.raises(InventoryError) as raised:
        inventory.host_for(made(*hosts), {"instance": "web1:9100"})
    assert all(host.name in str(raised.value) for host in hosts)


def test_a_script_is_asked_again_after_a_while(tmp_path):
    """What a script tells changes without any file changing."""
    now = [0.0]
    script = f"import json, pathlib\nfile = pathlib.Path({str(tmp_path / 'count')!r})\n"
    script += "n = file.read_text() + 'x' if file.exists() else 'x'\nfile.write_text(n)\nprint(json.dumps({'_meta': {'hostvars': {n: {}}}, 'all': {'hosts': [n]}}))"
    python = fake_ansible(tmp_path / "bin", script)
    cache = inventory.InventoryCache([write(tmp_path / "inv")], python=python, longest_s=60, clock=lambda: now[0])
    assert list(cache.get().hosts) == ["x"]
    now[0] = 59.0
    assert list(cache.get().hosts) == ["x"]
    now[0] = 60.0
    assert list(cache.get().hosts) == ["xx"]


def test_a_variable_may_name_the_host_itself_and_be_unsafe(tmp_path):
    """`prometheus_instance: "{{ inventory_hostname }}:9100"` in group_vars serves a whole group; other templates are never filled in."""
    file = write(
        tmp_path,
        'all: {hosts: {a: {}, b: {}}, vars: {prometheus_instance: "{{ inventory_hostname }}:9100", recoverable_services: [!unsafe "x{{"]}}\n',
    )
    found = inventory.load([file])
    host = inventory.host_for(found, {"instance": "b:9100"})
    assert host is not None
    assert host.name == "b"
    assert host.allows("recoverable_services", "x{{")


def test_vault_variables_are_read_with_the_password_file(tmp_path):
    """A variable that is encrypted in the inventory's folder is plain inside, and without the password nothing is half read."""
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    place = write(tmp_path / "inventory").parent
    secret = place / "group_vars/web.yml"
    secret.parent.mkdir()
    secret.write_text("service_ports: {nginx: 8443}\n")
    program = str(Path(sys.executable).with_name("ansible-vault"))
    environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path / "home")}
    subprocess.run(
        [program, "encrypt", "--vault-password-file", str(password), str(secret)], env=environment, capture_output=True, check=True
    )
    assert "nginx" not in secret.read_text()
    found = inventory.load([place], vault_password_file=str(password))
    assert found.hosts["web2"].variables["service_ports"] == {"nginx": 8443}
    with pytest.raises(InventoryError):
        inventory.load([place])


def test_a_folder_may_mix_files_and_scripts(tmp_path):
    """Whatever Ansible reads together is one inventory: a file, and a script that tells its hosts."""
    place = write(tmp_path / "inventory").parent
    script = place / "dynamic.py"
    said = {"cloud": {"hosts": ["vm1"]}, "_meta": {"hostvars": {"vm1": {"prometheus_instance": "vm1:9100"}}}}
    script.write_text(f"#!{sys.executable}\nprint({json.dumps(said)!r})\n")
    script.chmod(0o755)
    found = inventory.load([place])
    assert found.groups["cloud"] == ("vm1",)
    assert inventory.host_for(found, {"instance": "vm1:9100"}).name == "vm1"
    assert inventory.host_for(found, {"instance": "web1:9100"}).name == "web1.example.org"


def test_ten_thousand_hosts_are_taken_in_and_found():
    """A large inventory costs no more per host than a small one: every host has its groups and is found by each of its names."""
    names = [f"host{n}.example.org" for n in range(10_000)]
    variables = {name: {"ansible_host": f"10.0.{n >> 8}.{n & 255}", "prometheus_instance": f"h{n}:9100"} for n, name in enumerate(names)}
    groups = {f"g{g}": {"hosts": names[g::20]} for g in range(20)}
    found = inventory._parse({"_meta": {"hostvars": variables}, **groups, "site": {"children": list(groups)}})
    assert len(found.hosts) == 10_000
    for n in range(0, 10_000, 7):
        assert found.hosts[names[n]].groups == (f"g{n % 20}", "site")
        for label in (f"h{n}:9100", names[n], f"{names[n]}:9256", f"10.0.{n >> 8}.{n & 255}:9100", f"host{n}"):
            assert inventory.host_for(found, {"instance": label}).name == names[n]
    assert inventory.host_for(found, {"instance": "host10000:9100"}) is None
