# The front door. Each target sets up what it needs: a fresh machine has git, make and Python >= 3.11 with venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PYTHONHASHSEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench soak soak-service clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "marginkeep needs Python >= 3.11, found $$($(PYTHON) --version): set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV) (runtime)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/marginkeep-source.pth"
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "setting up $(VENV) (development)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(VENV)/.dev ## Make .venv with everything a developer needs

demo: $(VENV)/.run ## Replay a built-in synthetic crash over 20,000 accounts
	@$(BIN)/python -m marginkeep demo --out demo-report

test: $(VENV)/.dev ## Run the tests (two processes)
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests

check: $(VENV)/.dev ## Format, lint, types, import layers, examples in the docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

format: $(VENV)/.dev ## Rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## Measure speed and memory, as ratios in one run
	$(BIN)/python -m benchmarks

soak: $(VENV)/.dev ## Long seeded simulation (SOAK_MINUTES=60)
	$(BIN)/python -m pytest -q -s tests/soak/test_soak.py --soak-minutes $${SOAK_MINUTES:-60}

soak-service: $(VENV)/.dev ## The service under mixed load, killed in between (SOAK_MINUTES=30)
	$(BIN)/python -m pytest -q -s tests/soak/test_service_soak.py --soak-minutes $${SOAK_MINUTES:-30}

clean: ## Remove what the other targets made
	rm -rf $(VENV) demo-report .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
