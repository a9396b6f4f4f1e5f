"""Process 1 of a throw-away host: makes its root file system, starts sshd and reaps.

Run as a program of its own by `unshare`, without our packages: it may import the standard library only. It reads one line of JSON from its
standard input (`Plan`), answers with one line, and ends, all processes of the host with it, as soon as its standard input is closed.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_READ_ONLY, _NO_DEVICES, _SAFE, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE, _DETACH = 1, 4, 2 | 4 | 8, 32, 4096, 16384, 1 << 18, 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_COPIED = ("etc", "var", "root", "home", "srv", "opt")
_NOT_COPIED = ("var/cache", "var/tmp", "var/lib/apt")
_OPAQUE = ("root", "home")
_EMPTY = {"run": "0755", "tmp": "1777", "var/tmp": "1777", "dev/shm": "1777"}
_LIBC = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    given = [text.encode() or None for text in (source, str(target), kind)]
    if _LIBC.mount(*given, ctypes.c_ulong(flags), options.encode() or None):
        code = ctypes.get_errno()
        raise OSError(code, f"mount of {kind or source} on {target}: {os.strerror(code)}")


def _overlay(scratch: Path) -> tuple[Path, Path]:
    """Lay an empty writable layer over this machine's root; return the new root and the layer."""
    _mount("tmpfs", scratch, "tmpfs", 0, "mode=0755")
    upper, work, root = (scratch / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root, *(upper / name for name in _OPAQUE)):
        folder.mkdir(mode=0o755)
    for name in _OPAQUE:  # what people keep in their homes here is not the host's
        os.setxattr(upper / name, "trusted.overlay.opaque", b"y")
    _mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    return root, upper


def _copies(scratch: Path) -> tuple[Path, Path]:
    """Bind this machine's root read-only and lay copies over what a host writes; return the new root, twice."""
    root = scratch / "bound"
    root.mkdir(exist_ok=True)
    _mount("/", root, "", _BIND)
    _mount("", root, "", _BIND | _REMOUNT | _READ_ONLY)
    for name in _COPIED:
        _mount("tmpfs", root / name, "tmpfs", 0, "mode=0755")
    left_out = [f"--exclude=./{name}/*" for name in _NOT_COPIED]
    pack = ["tar", "-C", "/", "--one-file-system", *left_out, "-cf", "-", "./etc", "./var"]
    with subprocess.Popen(pack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as packed:
        subprocess.run(["tar", "-C", str(root), "--no-overwrite-dir", "-xpf", "-"], stdin=packed.stdout, check=True)
    return root, root


def _make_root(plan: dict[str, Any]) -> tuple[str, Path, Path]:
    """Return the kind of root that could be made, the root, and the folder in which changes show."""
    scratch = Path(plan["scratch"])
    if plan["root"] == "overlay":
        try:
            return "overlay", *_overlay(scratch)
        except OSError:
            scratch = Path(plan["spare"])
    return "copies", *_copies(scratch)


def _furnish(root: Path, keep: list[str]) -> None:
    """Mount what every host has of its own, and bring in what must stay visible."""
    held = [(place, os.open(place, os.O_PATH)) for place in keep]
    _mount("/dev", root / "dev", "", _BIND)
    _mount("devpts", root / "dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
    for name, mode in _EMPTY.items():
        _mount("tmpfs", root / name, "tmpfs", _NO_DEVICES, f"mode={mode}")
    _mount("proc", root / "proc", "proc", _SAFE)
    _mount("sysfs", root / "sys", "sysfs", _SAFE)
    if Path("/sys/fs/cgroup").is_dir():
        _mount("/sys/fs/cgroup", root / "sys/fs/cgroup", "", _BIND | _RECURSIVE)
    for place, descriptor in held:
        target = root / place.lstrip("/")
        if not target.exists() or os.stat(place).st_dev != os.stat("/").st_dev:  # noqa: PTH116 - as short as can be
            target.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{descriptor}", target, "", _BIND)
            _mount("", target, "", _BIND | _REMOUNT | _READ_ONLY)
        os.close(descriptor)


def _enter(root: Path) -> None:
    """Make `root` this namespace's root and let the old one go."""
    os.chdir(root)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None or _LIBC.syscall(ctypes.c_long(number), b".", b"."):
        os.chroot(".")
    elif _LIBC.umount2(b".", _DETACH):
        raise OSError(ctypes.get_errno(), "the old root cannot be let go")
    os.chdir("/")


def _start_sshd(plan: dict[str, Any]) -> None:
    place = Path("/run/throwaway")
    for folder in (place, Path("/run/sshd"), Path("/run/lock"), Path(plan["folder"])):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in plan["files"].items():
        path = place / name
        path.touch(mode=0o600)
        path.write_text(text)
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    with (place / "sshd.log").open("wb") as log:
        subprocess.Popen(
            [plan["sshd"], "-D", "-e", "-f", str(place / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main() -> None:
    """Make the host and stay until it is thrown away."""
    plan = json.loads(sys.stdin.buffer.readline())
    number = Path("/proc/self").readlink().name  # as seen outside: the proc of the namespace comes later
    Path("/proc/self/comm").write_text("sysvinit")  # so Ansible knows which kind of services these are
    _mount("", Path("/"), "", _PRIVATE | _RECURSIVE)
    socket.sethostname(plan["name"])
    kind, root, changes = _make_root(plan)
    _furnish(root, plan["keep"])
    seen = os.open(changes, os.O_PATH)
    _enter(root)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(plan["hosts"])
    _start_sshd(plan)
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.stdout.write(json.dumps({"pid": int(number), "root": kind, "changes": seen}) + "\n")
    sys.stdout.flush()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:  # nobody is left to wait for
            threading.Event().wait(0.2)


if __name__ == "__main__":
    main()
