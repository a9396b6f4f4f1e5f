"""The only door to hosts: a play of the catalogue, on named hosts, in a process of its own that outlives ours.

`Executor` is the door; `worker` is the program that it starts once per run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.execute.executor import Executor as Executor
    from orchestrator.execute.snapshot import Snapshot as Snapshot

__all__ = ["Executor", "Snapshot"]


def __getattr__(name: str) -> Any:
    """Load the door on first use: the worker runs from this package too and has to start fast."""
    if name == "Executor":
        from orchestrator.execute.executor import Executor

        return Executor
    if name == "Snapshot":
        from orchestrator.execute.snapshot import Snapshot

        return Snapshot
    raise AttributeError(name)
