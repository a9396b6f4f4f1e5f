"""A machine to throw away: a real systemd as process 1 of its own namespaces, on an overlay of this machine's files. Needs root.

It sees this machine's programs, writes only to memory, has a loopback and no other network, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY, needs_program, needs_root
from server import until

SYSTEMD = Path("/lib/systemd/systemd")

BOOT = """set -eu
folder=$1; shift
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
root=$folder/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
  mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
fi
for path in "$@"; do
  part=$path
  while [ "$part" != / ]; do mkdir -p "$root$part"; chmod o+x "$root$part" 2>/dev/null || true; part=$(dirname "$part"); done
  mount --bind "$path" "$root$path"
  mount -o remount,bind,ro "$root$path"
done
for name in systemd-sysctl systemd-modules-load systemd-remount-fs lvm2-monitor blk-availability; do
  ln -sf /dev/null "$root/etc/systemd/system/$name.service"
done
printf '[Unit]\\nRequires=sysinit.target\\nAfter=sysinit.target\\nAllowIsolate=yes\\n' > "$root/etc/systemd/system/machine.target"
ip link set lo up
mkdir "$root/tmp/.old"
cd "$root"
pivot_root . tmp/.old
umount -l /tmp/.old
exec env -i container=docker PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \\
  /lib/systemd/systemd --system --unit=machine.target
"""


class Machine:
    """One booted machine.

    Args:
        pid: its process 1, as seen from here.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(
        self, *command: str, check: bool = True, given: str | None = None, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it as root and return how it ended.

        Args:
            command: program and arguments.
            check: fail the test where the command fails.
            given: its standard input.
            timeout_s: the longest it may take.
        """
        into = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C", "--"]
        done = subprocess.run([*into, *command], input=given, capture_output=True, text=True, timeout=timeout_s, check=False, cwd="/")
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file on it, its folder too."""
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("tee", path, given=text)
        self.run("chmod", mode, path)

    def property(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


@contextlib.contextmanager
def booted_machine() -> Iterator[Machine]:
    """Boot a machine and remove every trace of it in the end; skip by name where it cannot be."""
    needs_root()
    needs_program("nsenter")
    needs_program("ip")
    if not SYSTEMD.exists():
        pytest.skip("needs systemd (Debian package); `make check` installs it")
    folder = Path(tempfile.mkdtemp(prefix="machine-"))
    groups = [root / folder.name for root in _cgroup_roots()]
    shown = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)]
    script = 'n=$1; shift; while [ "$n" -gt 0 ]; do mkdir -p "$1"; echo $$ > "$1/cgroup.procs"; shift; n=$((n-1)); done; exec "$@"'
    unshare = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net"]
    boot = [*unshare, "sh", "-c", BOOT, "boot", str(folder), *dict.fromkeys(map(str, shown))]
    log = (folder.parent / f"{folder.name}.log").open("w+b")
    process = subprocess.Popen(
        ["sh", "-c", script, "sh", str(len(groups)), *map(str, groups), *boot],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )

    def up() -> Machine | None:
        assert process.poll() is None, f"the machine did not boot: {Path(log.name).read_text()}"
        children = psutil.Process(process.pid).children()
        if not children or children[0].name() != "systemd":
            return None
        found = Machine(children[0].pid)
        state = found.run("systemctl", "is-active", "machine.target", check=False).stdout.strip()
        return found if state == "active" else None

    try:
        yield until(up, "the machine did not boot")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                child.kill()
        process.kill()
        process.wait(timeout=60)
        log.close()
        os.unlink(log.name)
        until(lambda: all(_removed(group) for group in groups), "the machine's control groups are still there")
        shutil.rmtree(folder, ignore_errors=True)


def _cgroup_roots() -> list[Path]:
    """Return the folders in which a machine needs a control group of its own."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [Path("/sys/fs/cgroup")]
    return [root for root in (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified")) if root.is_dir()]


def _removed(group: Path) -> bool:
    """Remove a control group and all within, and return whether that is done."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not group.exists()
