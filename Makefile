# Two commands matter on a fresh machine: `make quickstart` and `make test`. Both need make and Python >= 3.11 with its
# venv module, nothing else; they share one environment, .venv, and build what of it is missing or out of date.

VENV  ?= .venv
PEERS ?= .venv-peers
LOWEST ?= .venv-lowest
# tests/launch/exports/test_croissant.py names it too.
CROISSANT := .venv-croissant
# Arguments for pytest, e.g. make test PYTEST_ARGS="tests/pipeline -k digest"
PYTEST_ARGS ?=

AZURITE := 3.37.0

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 …` overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

BIN := $(VENV)/bin
# Wheels only: nothing is compiled on the user's machine. Every line of a lock carries its hashes, so pip checks them.
INSTALL = $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all:

# Tests wait for children and servers a fifth of their time: one process more than cores.
PARALLEL = --numprocesses $$($(BIN)/python -c "import os; print((os.cpu_count() or 1) + 1)") --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart venv venv-dev test test-long test-lowest test-torch test-cluster test-browser test-croissant lint docs bench wheel lock reference clean clean-all check-python

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: venv ## set up if needed, then curate the small web that ships with Gristmill
	$(BIN)/gristmill run quickstart

test: lint ## set up if needed, then lint, types and every test but the long ones
	$(BIN)/python -m pytest -m "not long and not torch and not cluster and not browser and not croissant" $(PARALLEL) $(PYTEST_ARGS)

test-long: venv-dev ## the tests that take minutes
	$(BIN)/python -m pytest -m "long and not cluster and not browser" $(PYTEST_ARGS)

test-cluster: venv-dev .cluster/.azurite ## the tests that need an S3 server, Azurite, Slurm or a Ray cluster, which they start and stop
	./.ci/install_cluster_packages
	$(BIN)/python -m pytest -m "cluster and not long" $(PYTEST_ARGS) tests/cluster tests/pipeline/executor

# What reads and writes Arrow and Parquet, sorts in NumPy, compiles with Numba, runs on Ray, checks configs with pydantic and prints
# with typer. Old versions warn of each other: warnings are errors with the locked versions alone.
LOWEST_TESTS = tests/pipeline/planning/test_config.py tests/pipeline/test_registry.py tests/pipeline/executor/test_ray.py \
	tests/pipeline/exchange/test_exchange.py tests/pipeline/running/test_engine.py tests/stages/sources/test_jsonl.py \
	tests/stages/sources/test_parquet.py tests/launch/commands/test_init.py

test-lowest: $(LOWEST)/.locked ## a selection of tests with the lowest versions that pyproject.toml allows, and without pandas
	$(LOWEST)/bin/python -c "import importlib.util as u; assert u.find_spec('pandas') is None"
	$(LOWEST)/bin/python -m pytest -W default -m "not long and not cluster" $(PYTEST_ARGS) $(LOWEST_TESTS)

test-torch: venv-dev $(VENV)/.torch ## the tests that run neural networks (installs torch, on the CPU where that is all there is)
	$(BIN)/python -m pytest -m torch --numprocesses auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-browser: venv-dev $(VENV)/.browser ## the tests that look at pages in Chromium (installs it, from the distribution)
	./.ci/install_browser
	$(BIN)/python -m pytest -m "browser and not long" $(PYTEST_ARGS) tests/browser

test-croissant: venv-dev $(CROISSANT)/.installed ## the tests that read Croissant with MLCommons' own library
	$(BIN)/python -m pytest -m croissant $(PYTEST_ARGS) tests/launch/exports

lint: venv-dev ## ruff, mypy (strict), and the layers of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: .venv-docs/.installed ## build the docs site into build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --config-file .ci/mkdocs.yml
	@echo "build/site/index.html"

bench: venv-dev $(PEERS)/.locked ## MB/s per stage, and as a ratio against peers (GRISTMILL_DATA names a folder of real data)
	$(BIN)/python -m tests.benchmarks --peers $(PEERS)/bin/python $(BENCH_ARGS)

wheel: venv ## build dist/gristmill-….whl
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist .

venv: $(VENV)/.installed ## the environment that runs Gristmill

venv-dev: $(VENV)/.locked-dev $(VENV)/.installed ## the same one with test and lint tools

# A changed lock rebuilds the environment from nothing, so that no package of the old one lingers in it.
$(VENV)/.locked: requirements.lock | check-python
	@echo "Creating $(VENV) with $$($(PYTHON) --version) and the packages of requirements.lock"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu it needs the package python3-venv" >&2; exit 1; }
	@$(INSTALL) -r requirements.lock
	@touch $@

$(VENV)/.locked-dev: requirements-dev.lock $(VENV)/.locked
	@echo "Adding the packages of requirements-dev.lock to $(VENV)"
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

$(VENV)/.torch: tests/requirements-torch.txt $(VENV)/.locked-dev
	@echo "Adding the packages of tests/requirements-torch.txt to $(VENV)"
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --only-binary :all: -r tests/requirements-torch.txt
	@touch $@

$(VENV)/.browser: tests/requirements-browser.txt $(VENV)/.locked-dev
	@echo "Adding the packages of tests/requirements-browser.txt to $(VENV)"
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --only-binary :all: -r tests/requirements-browser.txt
	@touch $@

# Editable: the sources here are what runs. The build backend comes from the lock, so this step needs no network.
$(VENV)/.installed: pyproject.toml .ci/build_package.py $(VENV)/.locked
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# pip checks the hashes; `make lock` resolves the versions.
$(LOWEST)/.locked: tests/requirements-lowest.txt pyproject.toml | check-python
	@echo "Creating $(LOWEST) with the packages of tests/requirements-lowest.txt"
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all: -r tests/requirements-lowest.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# jsonpath-rw has no wheel; everything else must be one.
$(CROISSANT)/.installed: tests/requirements-croissant.txt | check-python
	@echo "Creating $(CROISSANT) with the packages of tests/requirements-croissant.txt"
	@$(PYTHON) -m venv --clear $(CROISSANT)
	@$(CROISSANT)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all: --no-binary jsonpath-rw -r tests/requirements-croissant.txt
	@touch $@

# The tools measured against live apart: their dependencies contradict each other's and ours.
$(PEERS)/.locked: tests/benchmarks/requirements-peers.txt | check-python
	@echo "Creating $(PEERS) with the packages of tests/benchmarks/requirements-peers.txt"
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all: -r tests/benchmarks/requirements-peers.txt
	@touch $@

.venv-docs/.installed: .ci/requirements-docs.txt | check-python
	@echo "Creating .venv-docs with the packages of .ci/requirements-docs.txt"
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all: -r .ci/requirements-docs.txt
	@touch $@

check-python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: Gristmill needs Python 3.11 or newer, and neither python3 nor python3.11 … python3.14 is that." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: Gristmill needs Python 3.11 or newer; PYTHON=$(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not one)." >&2; exit 1; }

# Microsoft's emulator of Azure's storage, for tests alone.
.cluster/.azurite:
	@npm --version >/dev/null 2>&1 || { echo "error: make test-cluster needs npm, for Azurite (on Debian and Ubuntu: apt-get install npm)" >&2; exit 1; }
	@npm install --silent --no-audit --no-fund --prefix .cluster azurite@$(AZURITE)
	@touch $@

# uv resolves once for all Python versions and platforms; pip alone cannot. Only this target needs it.
lock: ## resolve requirements.lock and requirements-dev.lock anew from pyproject.toml
	@uv --version >/dev/null || { echo "error: make lock needs uv (pip install uv)" >&2; exit 1; }
	echo setuptools | uv pip compile $(LOCK_FLAGS) --extra dev pyproject.toml - -o requirements-dev.lock
	echo setuptools | uv pip compile $(LOCK_FLAGS) --constraint requirements-dev.lock pyproject.toml - -o requirements.lock
	echo "setuptools>=77" | uv pip compile $(LOCK_FLAGS) --resolution lowest-direct --extra testing pyproject.toml - -o tests/requirements-lowest.txt
	uv pip compile $(filter-out --generate-hashes,$(LOCK_FLAGS)) tests/benchmarks/requirements-peers.in -o tests/benchmarks/requirements-peers.txt

LOCK_FLAGS = --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --upgrade \
	--no-annotate --custom-compile-command "make lock"

reference: venv ## write docs/stages.md, docs/config.md and the JSON Schema of configs from what stages and models declare
	$(BIN)/python -m gristmill.launch.commands.stages_reference > docs/stages.md
	$(BIN)/python -m gristmill.launch.commands.config_reference > docs/config.md
	$(BIN)/python -m gristmill.launch.commands.config_schema > configs/config.schema.json

clean: ## remove caches, compiled kernels and outputs; keep the environments
	rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find pipeline stages launch configs tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## remove the environments too
	rm -rf $(VENV) $(PEERS) $(LOWEST) $(CROISSANT) .venv-docs .cluster src
