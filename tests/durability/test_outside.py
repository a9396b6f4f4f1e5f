"""What fails around the program: nothing acknowledged is lost, somebody is told in clear words, and it recovers without a restart."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import subprocess
import threading

import pytest
import requests
from conftest import REPOSITORY, needs_root
from durability.checks import check_everything, wait_all_ended
from durability.harness import some, world
from durability.wire import Cable, Wire
from hosts import throwaway_hosts
from inboxes import mail_server, text
from mistral_server import Misbehaviour, running, serving
from postgresql import PostgresServer, find_postgres
from services import free_port, until

from orchestrator.model import Reason


def degraded(server):
    """Return what is degraded, name → why."""
    return {item["what"]: item["why"] for item in requests.get(server.url + "/readyz", timeout=60).json()["degraded"]}


def wait_degraded(server, what):
    """Wait until something is degraded; return why."""
    return until(lambda: degraded(server).get(what), every_s=0.5, what=f"{what} is degraded, log: {server.log}")


def wait_well(server, what):
    """Wait until something is no longer degraded."""
    until(lambda: what not in degraded(server), every_s=0.5, what=f"{what} is well again, log: {server.log}")


def page(server, session):
    """Return the overview page as a person who is logged in sees it."""
    reply = session.get(server.url + "/", headers={"Accept": "text/html"}, timeout=60)
    return reply.text


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """Give a file system of its own, which can be full."""
    needs_root()
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True, timeout=60)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)


@pytest.mark.root
def test_disk_full(tmp_path):
    """Without space deliveries are refused, the page and /readyz say why; what was acknowledged is there, and all goes on once there is space."""
    with small_disk(tmp_path / "small", 24) as disk, world(tmp_path) as here, requests.Session() as session:
        server = here.serve("small/var").start()
        server.alert("a0")
        server.wait_status("a0", "resolved")
        link = next(line for line in server.since_start().splitlines() if "/login?code=" in line).split()[-1]
        session.get(link, timeout=60).raise_for_status()
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        items = (f"f{number}" for number in itertools.count())
        replies = (server.alert(item) for item in items)
        refused = next(reply for reply in itertools.islice(replies, 2000) if reply.status_code != 202)
        assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
        ready = requests.get(server.url + "/readyz", timeout=60)
        assert ready.status_code == 503
        assert "full" in degraded(server)["database"]
        assert "full" in page(server, session)
        (disk / "filler").unlink()
        until(lambda: server.alert("a1").status_code == 202, every_s=0.5, what="a delivery is taken")
        wait_well(server, "database")
        assert requests.get(server.url + "/readyz", timeout=60).status_code == 200
        server.wait_status("a1", "resolved")
        wait_all_ended(server)
        check_everything(server)
        server.kill()


@pytest.mark.foreign
def test_postgresql_restarts(tmp_path):
    """While PostgreSQL is gone deliveries are refused; the play that ran is not repeated, and all goes on when it is back."""
    if find_postgres() is None:
        pytest.skip("needs postgresql (Debian package); `make check` installs it")
    with PostgresServer(free_port()) as postgres, world(tmp_path, nap_s=3.0) as here:
        server = here.serve(database__url=postgres.database("restarted")).start()
        server.alert("a1")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        postgres.stop()
        refused = server.alert("a2")
        assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
        ready = requests.get(server.url + "/readyz", timeout=60)
        assert (ready.status_code, "database" in ready.json()["detail"]) == (503, True)
        until(lambda: here.ledger.has("a1", "end"), what="the play has ended")
        postgres.start()
        until(lambda: server.alert("a2").status_code == 202, every_s=0.5, what="a delivery is taken")
        for item in ("a1", "a2"):
            server.wait_status(item, "resolved")
        assert requests.get(server.url + "/readyz", timeout=60).status_code == 200
        check_everything(server)


@pytest.mark.parametrize("how", some(Cable.SILENT, Cable.NONSENSE, Cable.CUT))
def test_prometheus_is_bad(tmp_path, how):
    """A Prometheus that is silent, talks nonsense or is gone leaves the decision to a person; mended, alerts are repaired again."""
    with world(tmp_path) as here, Wire(here.monitoring.server_address[1], how) as wire:
        server = here.serve(prometheus__url=wire.url, prometheus__timeout_s=1).start()
        server.alert("a1")
        asked = server.wait_status("a1", "awaiting_approval", "escalated")
        assert {Reason.CANNOT_CONFIRM, Reason.RULE_UNREAD} & set(asked["verdict"]["reasons"])
        wait_degraded(server, "prometheus")
        assert not here.ledger.lines()
        wire.state = Cable.GOOD
        server.alert("a2")
        server.wait_status("a2", "resolved")
        wait_well(server, "prometheus")
        assert check_everything_but(server, "a1")["runs begun"] == 1


def check_everything_but(server, *waiting):
    """Check everything after closing incidents that wait for a person."""
    for item in waiting:
        server.post(f"/api/v1/incidents/{server.world.acknowledged[item]}/take").raise_for_status()
        server.wait_status(item, "escalated")
    return check_everything(server)


@pytest.mark.parametrize("how", some(Misbehaviour.RESET, Misbehaviour.SILENT, Misbehaviour.NOT_JSON_BODY))
def test_model_is_bad(tmp_path, how):
    """A model that is silent, talks nonsense or breaks off asks a person with the matchers' proposal; well again, it decides."""
    with world(tmp_path) as here, serving(how) as mistral:
        model = {"decision__engine": "mistral", "decision__base_url": mistral.url, "decision__api_key": "k", "decision__deadline_s": 8}
        server = here.serve(**model, decision__breaker_failures=100, catalogue__prompts=REPOSITORY / "prompts").start()
        server.alert("a1", host="h0")
        asked = server.wait_status("a1", "awaiting_approval")
        assert asked["proposal"]["entry"] == "ledger_auto"
        assert Reason.MODEL_FAILED in asked["verdict"]["reasons"]
        assert wait_degraded(server, "model")
        mistral.replies = [running("ledger_auto", ["h1"], {"ledger_auto_item": "a2"})]
        server.alert("a2", host="h1")
        server.wait_status("a2", "resolved")
        wait_well(server, "model")
        assert check_everything_but(server, "a1")["runs begun"] == 1


class Posted(http.server.BaseHTTPRequestHandler):
    """Takes messages as Slack's incoming webhook does."""

    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        return


@contextlib.contextmanager
def slack():
    """Run a receiver of Slack's messages."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Posted) as server:
        server.bodies = []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("how", some(Cable.CUT, Cable.NONSENSE, Cable.SILENT))
def test_slack_and_mail_are_bad(tmp_path, how):
    """What people must be told waits until Slack and the mail server are well again, and is told once; repairs go on meanwhile."""
    with (
        world(tmp_path) as here,
        slack() as hook,
        mail_server(tmp_path) as box,
        Wire(hook.server_address[1], how) as to_slack,
        Wire(box.port, how) as to_mail,
    ):
        server = here.serve(
            notify__slack_webhook_url=to_slack.url + "/hook",
            notify__smtp_host="127.0.0.1",
            notify__smtp_port=to_mail.port,
            notify__smtp_ca_file=box.ca_file,
            notify__mail_to='["oncall@example.com"]',
        ).start()
        server.alert("a1")
        server.wait_status("a1", "resolved")
        for channel in ("notify:slack", "notify:mail"):
            wait_degraded(server, channel)
        to_slack.state = to_mail.state = Cable.GOOD
        told = here.acknowledged["a1"]
        until(lambda: any(told in body for body in hook.bodies), within_s=120, what="Slack is told")
        until(lambda: any(told in text(mail) for mail in box.mails), within_s=120, what="the mail arrives")
        for channel in ("notify:slack", "notify:mail"):
            wait_well(server, channel)
        assert sum(told in body for body in hook.bodies) == sum(told in text(mail) for mail in box.mails) == 1


def ssh_inventory(here, name, variables):
    """Let one host of the world be reached by ssh."""
    path = here.folder / "inventory" / "hosts.yml"
    inventory = json.loads(path.read_text())
    host = inventory["all"]["children"]["ledgers"]["hosts"][name]
    host |= {"ansible_connection": "ssh", **variables}
    path.write_text(json.dumps(inventory))


def test_ssh_that_hangs(tmp_path):
    """A host whose ssh takes the connection and says nothing is given up as unreachable, a person is told, and its lock is released."""
    with world(tmp_path) as here, Wire(state=Cable.SILENT) as wire:
        common = "-F /dev/null -o BatchMode=yes -o ConnectTimeout=3 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        ssh_inventory(here, "h0", {"ansible_host": "127.0.0.1", "ansible_port": wire.port, "ansible_ssh_common_args": common})
        server = here.serve().start()
        server.alert("a1", host="h0")
        found = server.wait_status("a1", "escalated")
        assert (found["reason"], found["run"]["outcome"]) == (Reason.UNREACHABLE, "unreachable")
        assert wire.connections
        server.alert("a2", host="h1")
        server.wait_status("a2", "resolved")
        assert check_everything(server)["runs unknown"] == 0


@pytest.mark.root
def test_host_unreachable_in_mid_play(tmp_path):
    """A host that vanishes while its play runs ends with a person who is told so; nothing is repeated, and it can be tried again later."""
    with throwaway_hosts(1) as far, world(tmp_path, nap_s=6.0, timeout_s=10.0, within_s=5.0) as here:
        (host,) = far.hosts
        listed = json.loads(far.inventory.read_text())["all"]["children"]["recoverable"]["hosts"]["host1"]
        listed["ansible_ssh_args"] += " -o ServerAliveInterval=2 -o ServerAliveCountMax=2 -o ConnectTimeout=3"
        ssh_inventory(here, "h0", {**listed, "prometheus_instance": "h0:9100"})
        server = here.serve().start()
        server.alert("a1", host="h0")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        host.cut()
        found = server.wait_status("a1", "escalated", within_s=240)
        assert found["detail"]
        assert found["reason"] in {Reason.UNREACHABLE, Reason.UNDECIDED, Reason.RUN_FAILED, Reason.UNKNOWN_RUN}
        until(lambda: here.ledger.has("a1", "end"), what="the host has ended it by itself")
        host.join()
        assert [what for _, _, what in here.ledger.lines()] == ["begin", "end"]
        server.alert("b1", host="h0")
        server.wait_status("b1", "resolved")


def test_inventory_breaks_while_running(tmp_path):
    """With an inventory that cannot be read nothing runs and a person is told why; mended, alerts are repaired again without a restart."""
    with world(tmp_path) as here:
        good = here.folder / "inventory" / "hosts.yml"
        whole = good.read_text()
        server = here.serve().start()

        def break_syntax():
            good.write_text("all: {hosts: [")

        def break_script():
            good.unlink()
            script = good.with_name("script")
            script.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
            script.chmod(0o755)

        def break_away():
            good.unlink()
            good.parent.rmdir()

        def mend():
            good.parent.mkdir(exist_ok=True)
            good.with_name("script").unlink(missing_ok=True)
            good.write_text(whole)

        for number, fault in enumerate((break_syntax, break_script, break_away)):
            fault()
            server.alert(f"a{number}")
            found = server.wait_status(f"a{number}", "escalated")
            assert found["reason"] == Reason.NO_TARGET
            assert "inventory" in found["detail"]
            assert wait_degraded(server, "inventory")
            mend()
            server.post(f"/api/v1/incidents/{found['id']}/retry").raise_for_status()
            server.wait_status(f"a{number}", "resolved")
            wait_well(server, "inventory")
        assert check_everything(server)["runs begun"] == 3
