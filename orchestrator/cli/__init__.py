"""The command line: `orchestrator <noun> <verb>`."""
