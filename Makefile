# `make` alone prints this help. Everything lives in .venv; nothing is installed outside of it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_ARGS ?=
SERVE_ARGS ?=
TEST_ARGS ?=
JOBS ?= 2
# ansible and its linter are found beside the Python that runs them.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export ANSIBLE_HOME := $(CURDIR)/.ansible

.PHONY: help setup demo serve test check packages lint format types contracts playbooks bench docs recordings clean

help: ## Show this help
	@echo "Recovery orchestrator: from a Prometheus alert to a verified Ansible repair."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo DEMO_ARGS=--once     end with exit code 0 only if the incident was resolved"

setup: $(STAMP) ## Make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup ## Break a real service and watch it being repaired (DEMO_ARGS=--once ends by itself)
	@$(BIN)/orchestrator demo $(DEMO_ARGS)

serve: setup ## Start the server with the shipped defaults
	@$(BIN)/orchestrator serve $(SERVE_ARGS)

test: setup ## Run every test that needs no root and no foreign server; the others are skipped by name
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -p without_servers $(TEST_ARGS)

check: packages lint types contracts playbooks ## What CI runs: Debian packages, lint, types, contracts, the whole suite, the demo
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(TEST_ARGS)
	$(BIN)/orchestrator demo --once

packages: setup ## Install the Debian packages that the full suite uses (as root)
	@.ci/packages

lint: setup ## Lint and formatting of the Python code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## Rewrite the Python code as the linter wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup ## Type check
	$(BIN)/mypy

contracts: setup ## Who may import whom
	$(BIN)/lint-imports

playbooks: setup ## Lint of playbooks and roles
	$(BIN)/yamllint --strict playbooks roles inventory
	$(BIN)/ansible-lint --offline --profile production -q playbooks roles

bench: setup ## Measure; prints a table and writes bench/results.json
	@$(BIN)/python -m bench

docs: setup ## Write the generated reference pages anew
	@$(BIN)/python -m orchestrator.cli.reference

recordings: packages ## Break three real services, repair them, and write each incident down in docs/recordings
	@mkdir -p docs/recordings
	ORCHESTRATOR_RECORDINGS=$(CURDIR)/docs/recordings $(BIN)/python -m pytest -q tests/acceptance/test_nginx_stopped.py tests/acceptance/test_full_disk.py tests/acceptance/test_runaway.py

screenshots: setup ## Write the pictures of the pages into docs/images (needs chromium)
	@$(BIN)/python tests/browser/make_screenshots.py

clean: ## Remove what was built (not var/, where incidents live)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .ansible *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
