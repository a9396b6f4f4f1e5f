"""The entries restart_service, host_state and service_logs, run for real."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import needs_program, needs_root

RESTART, VERIFY = "restart_service/playbook.yml", "restart_service/verify.yml"


def answers(port):
    """Return whether an HTTP service on loopback really answers a request."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return link.recv(4) == b"HTTP"
    except OSError:
        return False


def test_a_killed_service_is_repaired_once(web):
    """A killed service fails verification, check mode predicts its restart, the repair helps, and a second run changes nothing."""
    web.kill("web")
    before = web.play(VERIFY, restart_service_name="web")
    assert before.rc != 0
    assert "web is stopped (supervisor)" in before.output
    predicted = web.play(RESTART, "--check", restart_service_name="web")
    assert (predicted.rc, predicted.changed) == (0, 1), predicted.output
    assert "Would restart web" in predicted.output
    assert web.state("web") == "EXITED"
    repaired = web.play(RESTART, restart_service_name="web")
    assert (repaired.rc, repaired.changed) == (0, 1), repaired.output
    assert answers(web.variables["port"])
    pid = web.pid("web")
    assert web.play(VERIFY, restart_service_name="web").rc == 0
    again = web.play(RESTART, restart_service_name="web")
    assert (again.rc, again.changed) == (0, 0), again.output
    assert web.pid("web") == pid


def test_a_stopped_process_is_unhealthy_though_its_port_connects(web):
    """A process stopped by a signal still accepts connections through the kernel; it counts as hung and is repaired."""
    os.kill(web.pid("web"), signal.SIGSTOP)
    before = web.play(VERIFY, restart_service_name="web")
    assert before.rc != 0
    assert "web is hung" in before.output
    repaired = web.play(RESTART, restart_service_name="web")
    assert repaired.rc == 0, repaired.output
    assert answers(web.variables["port"])


def test_a_port_held_by_a_stranger_is_refused_by_name(web):
    """Where another program holds the port a restart cannot help: the play says who it is and changes nothing."""
    web.kill("web")
    command = [sys.executable, "-m", "http.server", str(web.variables["port"]), "--bind", "127.0.0.1"]
    stranger = subprocess.Popen(command, cwd=web.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(web.variables["port"]):
            assert stranger.poll() is None
        refused = web.play(RESTART, restart_service_name="web")
    finally:
        stranger.kill()
        stranger.wait()
    assert refused.rc != 0
    assert re.search(rf"is held by \S+ \(pid {stranger.pid}\)", refused.output), refused.output
    assert (refused.changed, web.state("web")) == (0, "EXITED")


def test_a_service_the_host_does_not_list_is_refused(web):
    """Only a service in the host's allow-list may be restarted, whatever the parameters say."""
    web.variables["recoverable_services"] = ["other"]
    web.kill("web")
    refused = web.play(RESTART, restart_service_name="web")
    assert refused.rc != 0
    assert "is not in recoverable_services" in refused.output
    assert web.state("web") == "EXITED"


@pytest.mark.parametrize("limit", ["recoverable", "web*", "!web2"])
def test_a_limit_that_is_no_literal_host_is_refused(site, limit):
    """The play asserts its own limit: groups and patterns select no host."""
    refused = site.play("host_state/playbook.yml", limit=limit)
    assert refused.rc != 0
    assert "Assertion failed" in refused.output


@pytest.mark.foreign
def test_a_broken_configuration_is_refused_and_nothing_changes(site, free_port):
    """An nginx with a configuration that does not parse is left as it is; once mended, it is repaired."""
    nginx = needs_program("nginx")
    good = f"""daemon off; worker_processes 1; pid {site.folder}/nginx.pid; error_log {site.folder}/error.log;
events {{}}
http {{ access_log off; client_body_temp_path {site.folder}/b; proxy_temp_path {site.folder}/p; fastcgi_temp_path {site.folder}/f;
uwsgi_temp_path {site.folder}/u; scgi_temp_path {site.folder}/s; server {{ listen 127.0.0.1:{free_port}; return 204; }} }}
"""
    conf = site.folder / "nginx.conf"
    conf.write_text(good)
    argv = [nginx, "-p", str(site.folder), "-e", str(site.folder / "error.log"), "-c", str(conf)]
    site.variables |= {
        "recoverable_services": ["nginx"],
        "service_ports": {"nginx": free_port},
        "service_config_tests": {"nginx": [*argv, "-t"]},
    }
    site.supervise(nginx=f"command={' '.join(argv)}\nautostart=false")
    conf.write_text(good.replace("listen", "lissten"))
    refused = site.play(RESTART, restart_service_name="nginx")
    assert refused.rc != 0
    assert "does not parse" in refused.output
    assert "lissten" in refused.output
    assert (refused.changed, site.state("nginx")) == (0, "STOPPED")
    conf.write_text(good)
    repaired = site.play(RESTART, restart_service_name="nginx")
    assert repaired.rc == 0, repaired.output
    assert answers(free_port)


@pytest.mark.root
def test_a_full_disk_is_refused(web, full_disk):
    """A service that could not write is not restarted onto a full disk."""
    web.kill("web")
    web.variables["restart_service_disk_paths"] = ["/", str(full_disk)]
    refused = web.play(RESTART, restart_service_name="web")
    assert refused.rc != 0
    assert f"The disk is full: {full_disk}" in refused.output
    assert web.state("web") == "EXITED"


@pytest.fixture
def full_disk(tmp_path):
    """Give a small file system of one's own that is full."""
    needs_root()
    needs_program("mount")
    place = tmp_path / "full"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {made.stderr.strip()}")
    try:
        (place / "filled").write_bytes(bytes(1_900_000))
        yield Path(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_diagnostics_read_and_change_nothing(web):
    """host_state and service_logs give back plain values and report no change."""
    log = web.folder / "web.log"
    log.write_text("".join(f"line {number}: {{{{ 7 * 7 }}}}\n" for number in range(200)))
    web.variables["log_files"] = {"web": [str(log), str(web.folder / "none.log")]}
    web.kill("web")
    state = web.play("host_state/playbook.yml")
    assert (state.rc, state.changed) == (0, 0), state.output
    given = state.facts["web1"]["host_state"]
    assert given["uptime_s"] > 0
    assert given["load"].keys() == {"1m", "5m", "15m"}
    assert given["memory"]["total_mb"] > given["memory"]["available_mb"] > 0
    assert "/" in [disk["mount"] for disk in given["disks"]]
    assert "web" in given["failed_services"]
    assert all(len(process["digest"]) == 64 and process["started"] > 0 for process in given["top_processes"])
    logs = web.play("service_logs/playbook.yml", service_logs_service="web", service_logs_lines=5)
    assert (logs.rc, logs.changed) == (0, 0), logs.output
    told = logs.facts["web1"]["service_logs"]
    assert told["sources"][str(log)] == [f"line {number}: {{{{ 7 * 7 }}}}" for number in range(195, 200)]
    assert told["missing"] == [str(web.folder / "none.log")]
