# flashvisor: `make try` to see it run, `make test` for all tests, `make help` for the rest.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/dev.txt
PACKAGES := $(shell sed 's/\#.*//' requirements/debian.txt)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help setup try check test test-unit test-tools test-lab soak reproduce bench lock clean

help:
	@echo "make try        set up, build the image, power on a virtual server, run examples/site.toml"
	@echo "make test       all tests (unit, tools, lab)"
	@echo "make check      format, lint, types, layers and unit tests: under a minute"
	@echo "make soak       power cut at 10,000 and more points in simulated servers; then, on virtual ones, plugs pulled,"
	@echo "                writes replayed, bits flipped, bad images; writes the tables of docs/reliability.md (two hours)"
	@echo "                and watches the flash of an idle virtual server for ten minutes"
	@echo "make bench      measure against Debian 13 with libvirt on the same virtual hardware"
	@echo "make reproduce  compile kernel, QEMU, libvirt and GnuTLS a second time, and compare every byte"
	@echo "make setup      Debian packages and the Python environment that the above need"

setup: $(VENV)/.ready

# The stamp is newer than everything that it was made from, so that this runs only when a list has changed.
$(VENV)/.ready: $(LOCK) requirements/debian.txt pyproject.toml
	@missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(PACKAGES) 2>&1 | grep -v '^installed ' || true); \
	if [ -n "$$missing" ]; then \
	  echo "Installing Debian packages: $(PACKAGES)"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -q -o Dpkg::Progress-Fancy=1 --no-install-recommends $(PACKAGES); \
	fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --require-hashes -r $(LOCK)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

try: setup
	$(SUDO) $(BIN)/flashvisor try

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 tests/unit

test: check test-tools test-lab

test-unit: setup
	$(BIN)/pytest -q -n 2 tests/unit

test-tools: setup
	$(SUDO) $(BIN)/pytest -q --durations=15 tests/tools

test-lab: setup
	$(SUDO) $(BIN)/pytest -q --durations=0 --durations-min=1 tests/lab

soak: setup
	FLASHVISOR_TABLE=docs/reliability.md $(BIN)/pytest -q tests/soak
	$(SUDO) env FLASHVISOR_TABLE=docs/reliability.md $(BIN)/pytest -q tests/soaklab
	$(SUDO) env FLASHVISOR_IDLE_SECONDS=600 $(BIN)/pytest -q tests/lab/test_quiet_flash.py

reproduce: setup
	$(SUDO) $(BIN)/pytest -q tests/slow

bench: setup
	$(SUDO) $(BIN)/flashvisor bench

# Needs uv on PATH; writes the two locks from pyproject.toml.
lock:
	uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	  --extra admin --extra dev --python-version 3.11 pyproject.toml -o $(LOCK)
	uv pip compile -q --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	  --python-version 3.13 pyproject.toml -o src/flashvisor/image/recipe/node-requirements.txt

clean:
	rm -rf build $(VENV)
