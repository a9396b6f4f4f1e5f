"""A process really burns the processor: it is ended after a yes, and its namesakes that do not are left alone."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from conftest import needs_root
from double import HttpDouble, Reply
from farm import Watch, applied, incident_of, local_host, short_folder, write_inventory
from server import Server
from services import until

# It goes before everybody else, so that it gets a whole core of a busy machine; where sessions share the processor, its session does, too.
BURNER = """\
import hashlib, os, sys, time
open("/proc/self/comm", "w").write("burner")
if sys.argv[1] == "quiet":
    print("up", flush=True)
    time.sleep(3600)
try:
    os.nice(-15)
    if os.path.exists("/proc/self/autogroup"):
        open("/proc/self/autogroup", "w").write("-15")
except OSError:
    print("not allowed", flush=True)
    sys.exit()
print("up", flush=True)
while True:
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 50_000)
"""
RULE = {
    "alert": "ProcessHighCpu",
    "expr": "rate(test_process_cpu_seconds_total[15s]) > 0.3",
    "for": "2s",
    "labels": {"severity": "warning"},
    "annotations": {"summary": "{{ $labels.process }} uses the processor up"},
}


@contextmanager
def burner(kind):
    """Run a process named `burner`."""
    process = subprocess.Popen([sys.executable, "-c", BURNER, kind], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout
        if process.stdout.readline() != b"up\n":
            pytest.skip("needs the right to raise a priority")
        yield process
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


def seconds(process):
    """Return what a small exporter says of a process, as long as it is there."""
    try:
        used = psutil.Process(process.pid).cpu_times()
    except psutil.Error:
        return ""
    return f'test_process_cpu_seconds_total{{process="burner"}} {used.user + used.system}\n' if process.poll() is None else ""


@pytest.mark.root
@pytest.mark.foreign
@pytest.mark.timeout(600)
def test_a_runaway_process_is_ended_after_a_yes():
    """Exactly the busy process ends, named on the card; a quiet one of the same name lives on."""
    needs_root()
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("runaway-"))
        quiet, busy = stack.enter_context(burner("quiet")), stack.enter_context(burner("busy"))
        metrics = HttpDouble(lambda _: Reply(body=seconds(busy).encode(), headers=(("Content-Type", "text/plain; version=0.0.4"),)))
        stack.enter_context(metrics)
        watch = stack.enter_context(Watch(folder))
        target = {"targets": [metrics.url.removeprefix("http://")], "labels": {"instance": "busy1:9256"}}
        watch.start({}, [RULE], [{"job_name": "process", "static_configs": [target]}])
        host = local_host(prometheus_instance="busy1:9256", recoverable_processes=["burner"])
        more = {
            "ORCHESTRATOR_INVENTORY__PATHS": str(write_inventory(folder / "hosts.yml", {"busy1": host})),
            "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
        }
        server = stack.enter_context(Server(folder, {**watch.settings, **more}))
        watch.connect(server)
        identity = incident_of(server, "ProcessHighCpu", "busy1:9256")
        server.reaches(identity, "awaiting_approval", patience_s=180)
        (item,) = [one for one in server.json("approval", "list")["items"] if one["incident"] == identity]
        assert "burner" in server.command("approval", "show", item["id"]).stdout
        server.command("approval", "approve", item["id"])
        incident = server.reaches(identity, "resolved", "escalated", patience_s=240)
        assert (incident["status"], incident["reason"]) == ("resolved", "verified"), incident["detail"]
        assert until(lambda: busy.poll() is not None, what="the busy process has ended")
        assert quiet.poll() is None
        assert [run["hosts"]["busy1"]["changed"] for run in applied(server, identity)] == [1]
        assert "burner" in server.record(identity, "kill_runaway_process")
