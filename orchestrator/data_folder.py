"""The data folder: keys, tokens, the node's name and the kill switch's file; everything in it is for its owner alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

from orchestrator.errors import SettingsError


class DataFolder:
    """A folder of mode 0700.

    Args:
        path: made if it is not there.

    Raises:
        SettingsError: it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = -1
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            tempfile.TemporaryFile(dir=self.path).close()  # a file of its own: web and worker may start at once
        except OSError as error:
            problem = f"data_dir: {path} cannot be used ({error.strerror}). Mend: name a folder that this user can write, in data_dir or ORCHESTRATOR_DATA_DIR."
            raise SettingsError([problem]) from error

    def secret(self, name: str, prefix: str = "") -> str:
        """Return the secret in a file of mode 0600, made on first use."""
        return self._once(name, prefix + secrets.token_urlsafe(32))

    def node(self) -> str:
        """Return this worker's stable, unique name."""
        return self._once("node", f"{socket.gethostname()}-{secrets.token_hex(4)}")

    def _once(self, name: str, value: str) -> str:
        """Write a file whole or not at all, whenever we are killed, unless it is there; return what it holds."""
        path = self.path / name
        if not path.exists():
            fresh = self.path / f".{name}.{secrets.token_hex(4)}"
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(value + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # of two at once, the first one's value counts
                os.link(fresh, path)
            fresh.unlink()
        return path.read_text(encoding="utf-8").strip()

    def claim_node(self) -> None:
        """Make sure that no other living worker goes by this name.

        Raises:
            SettingsError: one does.
        """
        self._lock = os.open(self.path / "node.lock", os.O_RDWR | os.O_CREAT, 0o600)
        os.set_inheritable(self._lock, False)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release_node()
            problem = f"data_dir: another worker already uses {self.path}. Mend: stop it, or give this one a data_dir of its own."
            raise SettingsError([problem]) from error

    def release_node(self) -> None:
        """Let another worker go by this name."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def paused(self) -> str:
        """Return what the kill switch's file says, an empty string where there is none."""
        try:
            return (self.path / "paused").read_text(encoding="utf-8").strip() or "paused by file"
        except OSError:
            return ""

    def pause(self, words: str) -> None:
        """Put the kill switch's file there; works with the server down."""
        (self.path / "paused").write_text(words + "\n", encoding="utf-8")

    def resume(self) -> None:
        """Take the kill switch's file away."""
        (self.path / "paused").unlink(missing_ok=True)
