# Everything runs in .venv, which the first target that needs it makes. PYTHON may name another interpreter (3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?=

.PHONY: setup demo test test-all check bench format clean

setup: $(VENV)/.ready

# Compiled here, since the server is another user behind a fence, and cannot keep what it compiles.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "lambdad needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,postgres]'
	$(BIN)/python -m compileall -q src
	touch $@

# The main job on a fresh machine: a picture in a bucket, a schedule and a queue start functions.
demo: setup
	$(BIN)/lambdad demo $(if $(IMAGE),--image '$(IMAGE)')

# Fast enough to be run often: everything but what is marked slow.
test: setup
	$(BIN)/pytest -m 'not slow'

test-all: setup
	$(BIN)/pytest

check: setup
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest tests/unit tests/protocol -m 'not slow'

format: setup
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

bench: setup
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
