# The two commands of the README do all the set-up: `make demo` and `make test`. They install what they need, say so, and are
# quick the second time. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
READY := $(VENV)/.ready
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
PYTEST_ARGS ?=

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

# --- set-up ---

# Hashes in the lock file are checked; nothing is resolved anew.
$(READY): requirements.lock pyproject.toml
	@echo "Installing Serin and what it needs into $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Installing python3-venv …"; $(SUDO) apt-get update -qq; $(SUDO) apt-get install -y -qq python3-venv >/dev/null; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The packages are unpacked, not installed: no service of their own is started on anybody's machine, and no root is needed unless
# the package lists are missing.
PROMETHEUS := $(if $(shell command -v prometheus),,$(BIN)/prometheus)
ALERTMANAGER := $(if $(shell command -v prometheus-alertmanager alertmanager),,$(BIN)/prometheus-alertmanager)
export PATH := $(CURDIR)/$(BIN):$(PATH)

define unpack
	@echo "Fetching Debian's $(1) into $(VENV) …"
	@rm -rf $(VENV)/deb-$(1) && mkdir -p $(VENV)/deb-$(1)
	@cd $(VENV)/deb-$(1) && { apt-get download -qq $(1) 2>/dev/null || { $(SUDO) apt-get update -qq && apt-get download -qq $(1); }; }
	@dpkg-deb -x $(VENV)/deb-$(1)/$(1)_*.deb $(VENV)/deb-$(1)
	@mv $(addprefix $(VENV)/deb-$(1)/usr/bin/,$(2)) $(BIN)/ && touch $@ && rm -rf $(VENV)/deb-$(1)
endef

$(BIN)/prometheus: | $(READY)
	$(call unpack,prometheus,promtool prometheus)

# Debian's Alertmanager reads its templates from /usr/share. The copy reads them from the folder it is started in: the path within
# it is made a relative one, of the same length.
$(BIN)/prometheus-alertmanager: | $(READY)
	$(call unpack,prometheus-alertmanager,prometheus-alertmanager $(addprefix ../share/prometheus/alertmanager/,default.tmpl email.tmpl))
	@mkdir -p $(VENV)/share/alertmanager && mv $(BIN)/{default,email}.tmpl $(VENV)/share/alertmanager/
	@LC_ALL=C sed -i 's|/usr/share/prometheus/alertmanager|./././././././././././alertmanager|g' $@

# --- what people run ---

.PHONY: demo
demo: $(READY) $(PROMETHEUS) ## Three releases on real traffic: one promoted, two rolled back
	@$(BIN)/serin demo

.PHONY: test
test: $(READY) $(PROMETHEUS) $(ALERTMANAGER) ## All tests: unit, property, real Prometheus, real Alertmanager, real Envoy
	@$(BIN)/pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

.PHONY: cluster-build
cluster-build: ## Build the programs of the cluster tests from Go modules; the first time takes ten minutes
	@tests/cluster/build.sh

.PHONY: cluster-test
cluster-test: $(READY) $(PROMETHEUS) ## Tests on a real Kubernetes and Istio, without containers; needs Go
	@tests/cluster/run $(PYTEST_ARGS)

.PHONY: cluster-shell
cluster-shell: $(READY) $(PROMETHEUS) ## The same cluster, and a shell in it
	@tests/cluster/run --shell

.PHONY: check
check: $(READY) ## Lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: $(READY) ## Figures of the judge, the ledger and the loop; the same in bench.json
	@$(BIN)/python -m tests.bench

.PHONY: calibrate
calibrate: $(READY) ## The judge's error rates and speed, by simulation, into calibration.md (takes long)
	@$(BIN)/python -m tests.calibration $(CALIBRATE_ARGS)

# mutmut is not among the project's own packages: it gets an environment of its own beside a copy of them.
MUTANTS := .venv-mutate
$(MUTANTS)/.ready: requirements.lock
	@$(PYTHON) -m venv $(MUTANTS)
	@$(MUTANTS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(MUTANTS)/bin/python -m pip install --quiet --disable-pip-version-check 'mutmut==3.8.1' coverage
	@touch $@

.PHONY: mutate
mutate: $(MUTANTS)/.ready ## Do the judge's tests notice changes? A sample of mutants, into mutation.md (MUTATE_ARGS="harm cells --sample 40 --seed 2")
	@nice $(MUTANTS)/bin/python -m tests.mutation $(MUTATE_ARGS)

.PHONY: giveback
giveback: $(READY) ## The rollback planner on 200 random services: failed requests by course, regret
	@$(BIN)/python -m tests.capacity

.PHONY: format
format: $(READY) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: lock
lock: $(READY) ## Resolve the lock file anew (needs `uv` on the PATH)
	@uv pip compile pyproject.toml --extra apprise --extra sandbox --group dev --universal --generate-hashes --no-header \
	  --no-emit-index-url --no-annotate --exclude-newer "$$(date -u -d '7 days ago' +%F)" -o requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python deploy/image/lock.py

.PHONY: clean
clean: ## Remove what the other commands made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis bench.json dist .mutate $(MUTANTS) mutation.md
