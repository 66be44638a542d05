# Every target is complete on a fresh machine with python3 (3.11 or later) and make.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export HF_HUB_OFFLINE ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= 1
.DEFAULT_GOAL := help
.PHONY: help setup repro smoke tune full-size test lint ui

help:
	@echo "make repro      run the whole pipeline on the embedded default"
	@echo "make tune       search over λ and the high-pass radius, in its short form"
	@echo "make full-size  run the stages on random weights of Stable Diffusion's size: 16 GiB of memory, 20 of disk"
	@echo "make test       run the tests"
	@echo "make smoke      run the whole pipeline in its smallest form, on a copy"
	@echo "make lint       style, types, import directions"
	@echo "make ui         open the runs in MLflow"
	@echo "make setup      only set up .venv (the others do it too)"

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"found Python {v.major}.{v.minor}, expected 3.11 or later: make PYTHON=…")'
	@echo "setting up .venv: a few GB, some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

repro: setup
	@ecdm check
	@touch .venv/.started
	@dvc repro; code=$$?; \
	if [ -n "$$(find dvc.lock runs -type f -newer .venv/.started 2>/dev/null)" ]; then \
		for command in "sync" "report" "timing --since .venv/.started"; do \
			ecdm $$command || test $$code -ne 0 || code=2; \
		done; \
	fi; exit $$code

smoke: setup
	@python tests/smoke.py

tune: setup
	@ecdm check
	@dvc repro tune/dvc.yaml:short
	@echo "report: build/search/short/summary.md; look at the trials with make ui"

full-size: setup
	@PYTHONPATH=tests python bench/full_size.py --out build/full-size/table.md

.venv/bitsandbytes/.ready: tests/bitsandbytes.lock | setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
		--target .venv/bitsandbytes -r tests/bitsandbytes.lock
	@touch $@

test: setup .venv/bitsandbytes/.ready
	@tests/system-packages.sh
	@OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25

lint: setup
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports

ui: setup
	@ecdm ui
