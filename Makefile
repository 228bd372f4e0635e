PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench check format lock clean

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Byte code is made once here: importing torch takes 3 s of a core with it and 7.5 s without, in every process.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; sys.exit(not (3,11) <= v < (3,14) and f"error: Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed. Pass one with: make PYTHON=python3.11")'
	@test -x $(BIN)/python || { echo "Making the environment in $(VENV) (about 6 GB, 1 to 3 minutes the first time)"; $(PYTHON) -m venv $(VENV); }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(READY)  ## Dehaze simulated and real ultrasound; write runs/demo/index.html.
	$(BIN)/suffuse demo --out runs/demo --force

test: $(READY)  ## Run the fast tests, on two processes.
	$(BIN)/python -m pytest -n 2 --dist loadscope

test-all: $(READY)  ## Run every test, slow ones too.
	$(BIN)/python -m pytest -m "(slow or not slow) and not gpu"

bench: $(READY)  ## Run the measured comparisons; results go to tests/benchmarks/results.
	$(BIN)/suffuse bench --out tests/benchmarks/results
	$(BIN)/python -m tests.benchmarks.overhead
	$(BIN)/python -m docs.figures.scores

check: $(READY)  ## Lint, layers, types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(READY)  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)  ## Resolve requirements.lock again.
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev -c constraints.txt \
	  --universal --python-version 3.11 --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links -o requirements.lock
	! grep -nE '://|^--' requirements.lock

clean:  ## Remove the environment and caches.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
