# Two commands matter first: `make demo` runs the main job on embedded defaults, `make test` passes the tests.
# Both need Python 3.11+ and make, nothing else: everything they use goes into .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; `make PYTHON=/path/to/python setup` chooses another.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$each; break; fi; done)

NATIVE := $(wildcard src/syncline/connectors/*/*/_*.c src/syncline/connectors/*/*/_*.h src/syncline/sdk/*/_*.c)
PYTEST := $(BIN)/python -m pytest
# Two workers, each with servers of its own; a file's tests stay together, so that they share what they set up.
PARALLEL := -n 2 --dist loadfile
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup ui ui-types ui-test demo test test-slow test-all lint format faults tls clients fuzz bench docs lock clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Make .venv with Syncline, all that its tests need, and the web page if Node is there
	@$(BIN)/python ui/build.py --if-possible

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Syncline needs Python 3.11 or newer on the PATH (or make PYTHON=...)"; exit 1; }
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python -m venv failed (on Debian: apt-get install python3-venv)"; exit 1; }
	@touch $@

$(VENV)/.locked: requirements.lock | $(VENV)/.created
	@echo "setup: installing the packages of requirements.lock"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@touch $@

# Again when the metadata or a C source changes; Python sources are used where they lie.
$(VENV)/.installed: $(VENV)/.locked pyproject.toml setup.py $(NATIVE)
	@echo "setup: installing syncline itself, editable"
	@rm -f $(patsubst %.c,%.*.so,$(filter %.c,$(NATIVE)))
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@for source in $(basename $(notdir $(filter %.c,$(NATIVE)))); do \
		if ls src/syncline/connectors/*/*/$$source.*.so src/syncline/sdk/*/$$source.*.so 2>/dev/null | grep -q .; then echo "setup: $$source is compiled"; \
		else echo "setup: $$source is not compiled (no C compiler?), its slower Python version is used"; fi; done
	@$(BIN)/python -m compileall -q src/syncline || true  # as for any installed package, even where PYTHONDONTWRITEBYTECODE is set
	@touch $@
	@echo "setup: done, the command is $(BIN)/syncline"

ui: $(VENV)/.installed ## Build the web page (needs Node 20.19 or newer); nothing is done when it is current
	@$(BIN)/python ui/build.py

ui-types: setup ## Write the types of the page from the server's OpenAPI documents again
	$(BIN)/python ui/api_types.py

ui-test: ui ## Run the page's component tests
	cd ui && node node_modules/vitest/vitest.mjs run

demo: setup ## Run the main job on an embedded Postgres, verify it; at a terminal, then the page until Ctrl-C
	@$(BIN)/syncline demo

test: setup ## Run the tests (minutes)
	$(PYTEST) $(PARALLEL)

test-slow: setup ## Run the slow tests
	$(PYTEST) $(PARALLEL) -m "slow and not faults and not browser and not tls"

faults: setup ## Kill processes at every step of a batch's life and compare both ends
	$(PYTEST) -m faults

tls: setup ## Run the tests that need a Postgres server built with OpenSSL
	$(PYTEST) -m tls

clients: setup ## Run other people's client libraries against the server, each in an environment of its own (made first)
	$(BIN)/python tests/clients/prepare.py
	$(PYTEST) -m clients

fuzz: setup ## Send the server whatever its OpenAPI documents allow, and do not (SYNCLINE_FUZZ_EXAMPLES: how much)
	$(BIN)/python tests/clients/prepare.py schemathesis
	$(PYTEST) -m fuzz

test-all: test test-slow faults tls ## Run every suite

lint: setup ## Check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup ## Format and mend what can be mended without thinking
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: setup ## Measure speeds as ratios to what the server can send (long)
	$(BIN)/python benchmarks/run.py

docs: setup ## Write the generated pages of docs/ again
	$(BIN)/python docs/generate.py

lock: setup ## Choose the newest allowed versions again and write requirements.lock (needs uv on the PATH)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --no-annotate --upgrade --quiet --output-file requirements.lock

clean: ## Delete .venv, caches and build products
	rm -rf $(VENV) build dist ui/node_modules src/syncline/api/static src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete
