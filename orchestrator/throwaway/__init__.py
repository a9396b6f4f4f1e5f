"""Hosts to throw away: real machines for a play, made in a moment and gone without a trace.

As root: network namespaces on a bridge, each with processes, a hostname, an sshd and a root file system of its own (an overlay of this
machine's). Without root: a folder with a supervisor, run by this user. Nothing here knows Ansible or the catalogue.
"""

from orchestrator.throwaway.hosts import HOST_FOLDER, Root, ThrowawayHost, ThrowawayHosts, missing, networks, throwaway_hosts
from orchestrator.throwaway.supervised import Supervised, supervised_user, supervisor_configuration, supervisorctl

__all__ = [
    "HOST_FOLDER",
    "Root",
    "Supervised",
    "ThrowawayHost",
    "ThrowawayHosts",
    "missing",
    "networks",
    "supervised_user",
    "supervisor_configuration",
    "supervisorctl",
    "throwaway_hosts",
]
