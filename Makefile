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
# Programs are compiled once for all test runs, most of whose time it would take.
PYTEST = JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR=$(CURDIR)/build/jax \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2 $(VENV)/bin/python -m pytest
# All but slow tests compile many small programs and run each once or twice: with
# less of LLVM's optimisation they take two thirds of the time. Slow ones run as
# users do.
LESS = XLA_FLAGS=--xla_backend_optimization_level=1
# A process per core; what measures time has the machine to itself.
SPREAD = --numprocesses auto --dist worksteal
FILES := $(shell find mlit_jax configs tests launch colabs docs benchmarks *.md \
	-type f -not -name '*.pyc')

.PHONY: quickstart install test test-all test-latest lint docs clean

quickstart: install
	$(VENV)/bin/mlit study pinch:pocket --workdir $(WORKDIR)

install: $(VENV)/.installed

test: $(VENV)/.tests lint
	rm -f $(VENV)/.quick
	$(MAKE) $(VENV)/.quick

# Quick tests that passed on these very files are not run a second time. Slow ones
# go uncovered: measuring takes a fifth of the time on Python 3.11.
test-all: lint $(VENV)/.quick
	$(LESS) $(PYTEST) -m "long and not slow" $(SPREAD) --cov --cov-report= \
	  --cov-append
	$(PYTEST) -m "slow and not alone" $(SPREAD)
	$(PYTEST) -m alone
	$(VENV)/bin/coverage report

$(VENV)/.quick: $(VENV)/.tests $(FILES)
	$(LESS) $(PYTEST) -m "not slow and not long" $(SPREAD) --cov
	touch $@

# The same tests with the newest JAX, which needs Python 3.12 or newer.
test-latest:
	$(MAKE) test VENV=.venv-latest PYTHON=$(or $(LATEST_PYTHON),python3.12)

# The pages of docs/ and the reference, into build/docs.
docs: $(VENV)/.installed
	$(PIP) --editable ".[docs]"
	$(VENV)/bin/mkdocs build --strict

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
