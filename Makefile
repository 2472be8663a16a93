# `make` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
BENCH := .bench
SERVICES := auth-verify temp-image media-store checkout planter-orders stripe-sandbox gateway demo-shop

.DEFAULT_GOAL := help
.PHONY: help install install-heic install-otel install-dev run doctor dev logs test test-all test-browser test-image check settings format lock bench bench-quick soak up down create-admin backup restore clean $(SERVICES:%=run-%)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf "  make run-<service>    one process: $(SERVICES)\n"

# To install

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Keepsake needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed-heic: requirements-heic.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-heic.lock
	@touch $@

$(VENV)/.installed-otel: requirements-otel.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-otel.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.installed ## install what running needs

install-heic: $(VENV)/.installed-heic ## also what HEIC_UPLOADS=on needs; its wheels are GPL

install-otel: $(VENV)/.installed-otel ## also what OTEL_EXPORTER_OTLP_ENDPOINT needs

install-dev: $(VENV)/.installed-dev ## install what testing and checking need
	@$(BIN)/python -m tests.support.ministack

# To run it

run: install ## the whole stack in the foreground; Ctrl-C stops it
	@exec $(BIN)/python -m stack

dev: install ## as run, and each process starts again when the code changes
	@exec $(BIN)/python -m stack --reload

doctor: install ## ask all that can be asked from outside; ARGS=--json for machines
	@$(BIN)/python -m stack doctor $(ARGS)

run-gateway run-stripe-sandbox: run-%: install
	@exec $(BIN)/python -m $(subst -,_,$*)

run-demo-shop: install
	@exec $(BIN)/python -m web.shop

# make looks for no pattern rule for what is phony, but for a static one.
$(filter-out run-gateway run-stripe-sandbox run-demo-shop,$(SERVICES:%=run-%)): run-%: install
	@exec $(BIN)/python -m services.$(subst -,_,$*)

# To test, measure and check

# T="tests/unit/gateway -x" runs one path, in one process, so that a debugger and prints work.
# What is known to need luck on busy cores is listed in tests/conftest.py, tried again by name, and counted at the end as RERUN.
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder

test: install-dev ## the quick tests, which need nothing beside Python; T="tests/unit/gateway -x" for one path
	$(PYTEST) $(if $(T),$(T),$(PARALLEL) -m "not long" $(COVER)) $(ARGS)

test-all: COVER := --cov --cov-report=term:skip-covered
test-all: test ## all tests but the browser's and the image's, and how much of the code the quick ones cover
	$(PYTEST) $(PARALLEL) -m long --ignore=tests/browser --ignore=tests/system/container

test-browser: install-dev ## the pages in Chromium (Debian: apt-get install chromium)
	$(PYTEST) $(or $(T),tests/browser)

test-image: install-dev ## the container image, built and run without Docker, as root (Debian: apt-get install buildah mmdebstrap)
	$(PYTEST) tests/system/container $(ARGS)

$(BENCH)/.installed: bench/requirements.lock bench/node/package-lock.json | $(VENV)/.installed-dev
	$(BIN)/python -m venv $(BENCH)/venv
	$(BENCH)/venv/bin/python -m pip install --quiet --require-hashes -r bench/requirements.lock
	$(BENCH)/venv/bin/python -m pip install --quiet --no-deps --upgrade --target $(BENCH)/before pebble==5.2.3  # for 2602f7e
	mkdir -p $(BENCH)/node && cp bench/node/package*.json $(BENCH)/node/
	$(BIN)/python -c "from pathlib import Path; from tests.support.node import ensure_installed as e; e(Path('$(BENCH)/node'))"
	@touch $@

bench: install-dev $(BENCH)/.installed ## speed and memory against other servers, into docs/performance.md; 15 minutes
	@$(BIN)/python -m bench $(ARGS)

bench-quick: install-dev $(BENCH)/.installed ## the same in 2 minutes, on the screen alone
	@$(BIN)/python -m bench --quick $(ARGS)

soak: install-dev ## a mixed load for 20 minutes: do memory, files and tasks stay flat?
	@$(BIN)/python -m bench.soak $(ARGS)

check: install-dev ## format, lint, types, layers, dependencies, sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry shared services gateway stack stripe_sandbox web
	$(BIN)/python tools/check_tree.py

settings: install-dev ## write docs/settings.md and .env.example from the settings classes
	$(BIN)/python -m tools.settings_reference

format: install-dev ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# In containers

up: ## the stack in containers, with PostgreSQL, Redis and an S3 server
	docker compose up --build --wait

logs: ## what the containers of `make up` log, from now on
	docker compose logs --follow --tail 0

down: ## stop the containers
	docker compose down

# For the operator

backup: install ## DIR=…: a copy of DATA_DIR and .env, also while the stack runs
	@$(BIN)/python -m stack.backup backup "$(DIR)"

restore: install ## DIR=…: put a backup back, where there is no data yet
	@$(BIN)/python -m stack.backup restore "$(DIR)"

create-admin: install ## USERNAME=… EMAIL=…; asks for the password
	@$(BIN)/python -m services.auth_verify create-admin --username "$(USERNAME)" --email "$(EMAIL)"

# For the maintainer

# flask-swagger-ui is there for its files, so the flask that it asks for is left out, and the lock is installed as it stands.
COMPILE := $(BIN)/uv pip compile -q pyproject.toml --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: install-dev ## pin the dependencies again, without any index address; UPGRADE=--upgrade takes what is new
	$(BIN)/python -m pip install --quiet uv
	echo "flask ; sys_platform == 'never'" | $(COMPILE) $(UPGRADE) --overrides - -o requirements.lock
	$(COMPILE) $(UPGRADE) --extra test --extra check -c requirements.lock -o requirements-dev.lock
	grep -om1 'pillow-heif[^"]*' pyproject.toml | $(subst pyproject.toml,-,$(COMPILE)) $(UPGRADE) --no-deps -o requirements-heic.lock
	sed -n '/^otel = /,/^]/s/^ *"\(.*\)",/\1/p' pyproject.toml | $(subst pyproject.toml,-,$(COMPILE)) $(UPGRADE) -c requirements.lock -o requirements-otel.lock

clean: ## remove what was installed and built; data in var/ stays
	rm -rf $(VENV) $(BENCH) .ministack .mypy_cache .ruff_cache .hypothesis
