"""The data folder."""

from __future__ import annotations

import threading

from orchestrator.data_folder import DataFolder


def test_many_start_at_once_on_one_folder(tmp_path):
    """Web and worker may start at the same moment on one folder: neither is refused, and both read the same secrets."""
    found: list[tuple[str, str]] = []
    failed: list[BaseException] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            for _ in range(100):
                folder = DataFolder(tmp_path / "var")
                found.append((folder.secret("admin.token"), folder.node()))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(set(found)) == 1
    assert not [path.name for path in (tmp_path / "var").iterdir() if path.name.startswith(".")]
