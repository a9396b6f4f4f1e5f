"""A real PostgreSQL on a free loopback port, started and ended by the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg2


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's server programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class PostgresServer:
    """One throw-away PostgreSQL; as root it runs as the user `postgres`.

    Args:
        port: a free port on loopback.
        address: where it listens beside loopback; trusted are only the 254 neighbours of it.
    """

    def __init__(self, port: int, address: str = "") -> None:
        bin_folder = find_postgres()
        assert bin_folder is not None
        self._bin = bin_folder
        self.port, self.address = port, address or "127.0.0.1"
        self.folder = Path(tempfile.mkdtemp(prefix="orchestrator-pg-"))
        self._user = "postgres" if os.geteuid() == 0 else None

    def __enter__(self) -> Self:
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._call("initdb", "-D", str(self.folder / "data"), "-U", "orchestrator", "-A", "trust", "--no-sync")
        with (self.folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write(f"host all all {self.address}/24 trust\n")
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it answers."""
        places = ",".join(sorted({"127.0.0.1", self.address}))
        options = (
            f"-p {self.port} -c listen_addresses={places} -c unix_socket_directories={self.folder} -c fsync=off -c max_connections=100"
        )
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", str(self.folder / "log"), "-w", "-t", "60", "start")

    def stop(self) -> None:
        """End it at once, as a crash does."""
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def __exit__(self, *_: object) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, name: str) -> str:
        """Make an empty database and return its address."""
        deadline = time.monotonic() + 30
        while True:
            try:
                connection = psycopg2.connect(host=self.address, port=self.port, user="orchestrator", dbname="postgres")
                break
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        connection.close()
        return f"postgresql://orchestrator@{self.address}:{self.port}/{name}"

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if self._user:
            command = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups", "--reset-env", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", timeout=120)
