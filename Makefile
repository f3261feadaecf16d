# Needs Python 3.11+, git and make. Everything else is installed into .venv from the locks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

ifdef UV
create = $(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
install = $(UV) pip install --quiet --python $(BIN)/python
else
create = $(PYTHON) -m venv --clear $(VENV)
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif
# The locks are complete, so nothing is left to resolve: pip 23.2 fails where something asks for an extra of a pinned package.
install_lock = $(install) --no-deps --require-hashes -r
install_self = $(install) --no-deps --no-build-isolation --editable .

.PHONY: help demo test check prove format lock bench clean dist audit sbom lowest
help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.runtime ## the main job over real HTTP, in a temporary folder, in a few seconds
	@$(BIN)/klenhook demo

test: $(VENV)/.dev ## the whole default test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright --level error

prove: $(VENV)/.dev ## the long fault campaigns (hours); writes tests/faults/README.md
	$(BIN)/python -m pytest --prove tests/faults $$($(BIN)/python -m tests.faults.table) $(PYTEST_ARGS)

dist: $(VENV)/.dev ## the wheel and the source archive, in dist/
	$(BIN)/python -m hatchling build

audit: $(VENV)/.dev ## known holes in what is pinned (asks the vulnerability service), and what is unsafe in the workflows
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock
	$(BIN)/zizmor --offline .github

sbom: $(VENV)/.dev ## the bill of materials, sbom.json (asks the vulnerability service)
	$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements.lock --format cyclonedx-json --output sbom.json

# The tools as they are pinned, then what klenhook itself needs, each as old as pyproject.toml allows.
lowest: ## tests with the lowest versions that pyproject.toml allows (needs uv)
	$(MAKE) VENV=.venv-lowest .venv-lowest/.dev
	uv pip compile --quiet --python-version 3.11 --resolution lowest-direct --extra build --extra otel pyproject.toml --output-file .venv-lowest/lowest.txt
	uv pip install --quiet --python .venv-lowest/bin/python --requirement .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pytest -p no:anyio tests/unit tests/contract $(PYTEST_ARGS)

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## the benchmark table, and bench.json
	$(BIN)/python -m tests.benchmarks --json bench.json
	$(BIN)/python -m tests.benchmarks.calendar --folder build/bench

# Pins of every platform and Python from 3.11 on, with hashes and without addresses.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra build
lock: ## renew requirements.lock and requirements-dev.lock (needs uv)
	$(COMPILE) pyproject.toml --output-file requirements.lock $(LOCK_ARGS)
	$(COMPILE) pyproject.toml --group dev --extra otel --constraint requirements.lock --output-file requirements-dev.lock $(LOCK_ARGS)

# One environment serves both: .dev is .runtime and the tools.
$(VENV)/bin/python:
	@echo "Making $(VENV) ..."
	@$(create)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing klenhook into $(VENV) (a minute the first time) ..."
	@$(install_lock) requirements.lock
	@$(install_self)
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing klenhook and its development tools into $(VENV) ..."
	@$(install_lock) requirements-dev.lock
	@$(install_self)
	@touch $@ $(VENV)/.runtime

clean: ## remove .venv and caches
	rm -rf $(VENV) .venv-lowest sbom.json .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
