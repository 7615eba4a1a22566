# make demo and make test set themselves up: a .venv, made anew when pyproject.toml has changed.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test lint clean

demo: $(READY)
	$(VENV)/bin/python -m experiments demo

test: $(READY)
	$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/python -m tests.limits

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: twingrad needs Python 3.11 or later, $(PYTHON) is older; run make PYTHON=python3.12, say" >&2; exit 2; }
	@echo "Setting up $(VENV): torch and what it needs are about 5 GB, a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
