# `make` alone lists what you can do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LISTEN ?= 127.0.0.1:8443
FLEET ?= 0
ONCE ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo run test quick check bench golden docs clean system-packages

help: ## list what you can do
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.runtime: pyproject.toml scripts/environment.sh
	@sh scripts/environment.sh runtime "$(PYTHON)" "$(VENV)"
	@touch $@

$(VENV)/.development: $(VENV)/.runtime pyproject.toml
	@sh scripts/environment.sh development "$(PYTHON)" "$(VENV)"
	@touch $@

setup: $(VENV)/.runtime ## a complete installation in .venv
	@echo "Installed: $(BIN)/fleetward"

demo: $(VENV)/.runtime ## join this machine to a fresh server and run a command on it (ONCE=1, FLEET=50, LISTEN=host:port)
	@$(BIN)/fleetward demo --listen "$(LISTEN)" --fleet "$(FLEET)" $(if $(ONCE),--once)

run: $(VENV)/.runtime ## run a server on .demo/server until Ctrl-C
	@$(BIN)/fleetward server --data .demo/server --listen "$(LISTEN)"

system-packages:
	@sh scripts/system_packages.sh

test: $(VENV)/.development system-packages ## the whole suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal

quick: $(VENV)/.development ## the inner loop: what is not marked slow
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" -x

check: $(VENV)/.development ## format, lint, strict types, layers, docs, known vulnerabilities
	@$(BIN)/ruff format --check fleetward tests bench
	@$(BIN)/ruff check fleetward tests bench
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_project.py
	@sh scripts/audit.sh "$(BIN)"

bench: $(VENV)/.development ## measure; prints ratios with their bars
	@$(BIN)/python -m bench

golden: $(VENV)/.development ## rewrite the golden files; read the diff
	@GOLDEN=rewrite FLEETWARD_GOLDEN=rewrite $(BIN)/python -m pytest -q tests/protocol tests/agent || true

docs: $(VENV)/.development ## rewrite the generated pages
	@$(BIN)/python -m scripts.generate_docs

clean: ## remove what make made
	@rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache
