# `make demo` and `make test` do all of the set-up on a fresh machine; a second run starts at once.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
WORKERS ?= 2

# One thread a test process: two workers then fill two cores, and sums come out in the same order everywhere.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

RUN_READY := $(VENV)/.ready-run
TEST_READY := $(VENV)/.ready-test

help: ## These lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(RUN_READY) ## Run every system once and open a page of what came out
	@$(BIN)/bottega tour

studio: $(RUN_READY) ## The studio in the browser, on this machine only
	@$(BIN)/bottega studio

test: $(TEST_READY) ## All tests
	@$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(TEST_READY) ## Style, types, import direction and architecture
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(TEST_ENV) $(BIN)/python -m pytest -q tests/architecture

format: $(TEST_READY) ## Let ruff mend what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(TEST_READY) ## Measure speed against the peers; results go into benchmarks/results
	@$(BIN)/python -m benchmarks

docs: $(RUN_READY) ## Write docs/ from the rooms' cards, with pictures made now
	@$(BIN)/python scripts/make_docs.py

lock: ## Renew requirements/*.txt (needs uv; no release younger than a week)
	@sh scripts/make_lock.sh

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bottega needs Python 3.11 or newer; set PYTHON=python3.x")'
	@$(PYTHON) -m venv $(VENV)

# The lock comes first, by hash and without dependencies; torch follows by version, because its build differs by machine.
define install
	@echo "Installing $(1) into $(VENV) (once; torch is most of the download)"
	@$(PIP) install --require-hashes --no-deps --only-binary :all: -r $(1)
	@$(PIP) install -r requirements/torch.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
endef

$(RUN_READY): requirements/run.txt requirements/torch.txt pyproject.toml | $(VENV)/bin/python
	$(call install,requirements/run.txt)
	@touch $@

$(TEST_READY): requirements/test.txt requirements/torch.txt pyproject.toml | $(VENV)/bin/python
	$(call install,requirements/test.txt)
	@touch $(RUN_READY) $@

.PHONY: help demo studio test lint format bench docs lock clean
