"""A process really burns the processor: it is ended after a yes, and its namesakes that do not are left alone."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from double import HttpDouble, Reply
from farm import Watch, applied, incident_of, local_host, short_folder, write_inventory
from server import Server
from services import until

# Where it may, it goes before everybody else; where not, it burns in several threads. Either way it gets a whole core of a busy machine.
BURNER = """\
import hashlib, os, sys, threading, time
open("/proc/self/comm", "w").write("burner")
threads = int(sys.argv[1])
if threads:
    try:
        os.nice(-15)
        threads = 1
    except OSError:
        pass
print("up", flush=True)
def burn():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 50_000)
for _ in range(threads):
    threading.Thread(target=burn, daemon=True).start()
while True:
    time.sleep(1)
"""
RULE = {
    "alert": "ProcessHighCpu",
    "expr": "rate(test_process_cpu_seconds_total[15s]) > 0.3",
    "for": "2s",
    "labels": {"severity": "warning"},
    "annotations": {"summary": "{{ $labels.process }} uses the processor up"},
}


@contextmanager
def burner(threads):
    """Run a process named `burner`."""
    process = subprocess.Popen([sys.executable, "-c", BURNER, str(threads)], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
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


@pytest.mark.foreign
@pytest.mark.timeout(600)
def test_a_runaway_process_is_ended_after_a_yes():
    """Exactly the busy process ends, named on the card by pid; a quiet one of the same name lives on."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("runaway-"))
        quiet, busy = stack.enter_context(burner(0)), stack.enter_context(burner(6))
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
