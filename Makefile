# `make up` starts a cluster with the example on it; `make test` runs every test; `make check` reads the code.
# Each brings what it needs: a virtual environment in .venv and the Debian packages that are missing.

# The machine's own Python where it is new enough, before a python3 of pyenv or conda earlier in PATH: Debian builds
# its Python with profile-guided optimisation, and what it runs takes two thirds of the time of a plain build.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= /var/lib/sampan
APT := DEBIAN_FRONTEND=noninteractive apt-get
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# What `sampan check` does not ask for, but the tests do.
TEST_PACKAGES := docker-registry apache2-utils wrk iputils-ping
# Programs that machines often have from elsewhere, with which Debian's packages of them would clash.
TEST_PROGRAMS := npm

# Container images like to forbid Python to keep bytecode. Here every process of a cluster and of the tests would
# compile the same hundreds of modules again, which takes longer than all else that a start does.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help up down test check format bench clean packages test-packages bytecode

help:
	@echo "make up      start a cluster with the example application on it"
	@echo "make down    end it; its data stays (make clean removes it)"
	@echo "make test    run every test"
	@echo "make check   formatting, lint, types, import contracts"
	@echo "make bench   print every figure of docs/performance.md"

$(BIN)/sampan: pyproject.toml
	@test -x $(BIN)/python || { echo "Making the virtual environment in $(VENV) ..."; \
	  $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing; installing it ..."; \
	    $(SUDO) apt-get update -q && $(SUDO) $(APT) install -y -q python3-venv && $(PYTHON) -m venv --clear $(VENV); }; }
	@echo "Installing Sampan into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# Takes no time where it is there already. Whoever runs `sampan` later may not be able to write it.
bytecode: $(BIN)/sampan
	@$(BIN)/python -m compileall -q src

packages: bytecode
	@missing="$$($(BIN)/sampan check --runtime containerd --packages)"; \
	if [ -n "$$missing" ]; then \
	  echo "Installing Debian packages: $$missing ..."; \
	  $(SUDO) apt-get update -q > /dev/null && $(SUDO) $(APT) install -y -q --no-install-recommends $$missing > /dev/null; \
	fi

up: packages
	@$(SUDO) $(BIN)/sampan up --data-dir $(DATA_DIR) --apply examples/guestbook

down: $(BIN)/sampan
	@$(SUDO) $(BIN)/sampan down --data-dir $(DATA_DIR)

clean: $(BIN)/sampan
	@$(SUDO) $(BIN)/sampan down --delete --data-dir $(DATA_DIR)

$(BIN)/pytest: $(BIN)/sampan
	@echo "Installing what the tests and checks need ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

test-packages: packages
	@missing="$$(for p in $(TEST_PACKAGES); do dpkg -s $$p > /dev/null 2>&1 || echo $$p; done; \
	  for p in $(TEST_PROGRAMS); do command -v $$p > /dev/null || echo $$p; done)"; \
	if [ -n "$$missing" ]; then \
	  echo "Installing Debian packages for the tests: $$missing ..."; \
	  $(SUDO) apt-get update -q > /dev/null && $(SUDO) $(APT) install -y -q --no-install-recommends $$missing > /dev/null; \
	fi

# Side by side where tests allow it; with PYTEST_ARGS in one run of pytest, as they say.
test: $(BIN)/pytest test-packages
	@$(BIN)/python $(if $(PYTEST_ARGS),-m pytest $(PYTEST_ARGS),-m tests.run)

check: $(BIN)/pytest
	@$(BIN)/python -m sampan.schema.stubs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(BIN)/pytest
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(BIN)/pytest test-packages
	@for file in bench/*.py; do echo "== $$file"; $(SUDO) $(BIN)/python $$file || exit 1; done
