# Every target sets up .venv by itself; a second call finds it ready.
PYTHON ?= python3
OUT ?= tumorscope-run
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
# A process for each of up to four processors, whole files to each.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

.PHONY: run test real lint format check examples clean

run: $(READY)  ## the whole experiment on the built-in synthetic set, report in $(OUT)/report.html
	$(BIN)/tumorscope run --out $(OUT)

test: $(READY)  ## all tests that need nothing but this folder
	$(PYTEST)

real: $(READY)  ## tests on the real data sets beside this folder
	$(PYTEST) -m real

lint: $(READY)  ## style, types, import layers
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test  ## what must pass before every commit

examples: $(READY)  ## the notebooks of docs/examples, executed anew
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[examples]'
	$(BIN)/python docs/examples/make.py

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Tumorscope needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) $(OUT) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
