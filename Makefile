# mlit-jax: `make quickstart` shows a whole study, `make test` checks the code.
# Needs Python 3.11 or newer; PYTHON chooses it.

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/pocket
MINOR := $(shell $(PYTHON) -c 'import sys; print(sys.version_info.minor)')
# The exact versions tested: JAX 0.10 on 3.11, the newest JAX from 3.12 on.
CONSTRAINTS ?= constraints/$(if $(filter 11,$(MINOR)),python3.11,latest).txt
PIP = $(VENV)/bin/pip --disable-pip-version-check install --quiet \
	--constraint $(CONSTRAINTS)
PYTEST = JAX_PLATFORMS=cpu $(VENV)/bin/python -m pytest
COVERAGE = --cov --cov-report=term
# A process per core; what is slow has the machine to itself.
SPREAD = --numprocesses auto --dist worksteal

.PHONY: quickstart install test test-all test-latest lint clean

quickstart: install
	$(VENV)/bin/mlit study pinch:pocket --workdir $(WORKDIR)

install: $(VENV)/.installed

test: $(VENV)/.tests lint
	$(PYTEST) -m "not slow" $(SPREAD) $(COVERAGE)

test-all: $(VENV)/.tests lint
	$(PYTEST) -m "not slow" $(SPREAD) --cov
	$(PYTEST) -m slow $(COVERAGE) --cov-append

# The same tests with the newest JAX, which needs Python 3.12 or newer.
test-latest:
	$(MAKE) test VENV=.venv-latest PYTHON=$(or $(LATEST_PYTHON),python3.12)

lint: $(VENV)/.tests
	$(VENV)/bin/ruff check

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mlit needs Python 3.11 or newer; $(PYTHON) is older. Try" \
	    "make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python setup.py pyproject.toml $(CONSTRAINTS)
	$(PIP) --editable .
	touch $@

$(VENV)/.tests: $(VENV)/.installed
	$(PIP) --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) .venv-latest build *.egg-info .coverage .pytest_cache
