# The same commands by hand and in CI. `make quickstart` and `make test` set up what they need by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LATEST := .venv-latest
CHECK := import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, given %s; set PYTHON=python3.x" % sys.version)
# Processes that share the tests, each with one thread and with about 1.5 GiB of memory.
PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -q --durations=25
# Tests that share dear fixtures stay together: tests/conftest.py says which, and puts them first.
PARALLEL := --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
FAST := "not slow and not gpu and not browser"
# The wheels of torch are large: be patient with slow networks.
export UV_HTTP_TIMEOUT ?= 600

.DEFAULT_GOAL := help
.PHONY: help install lock quickstart demo test test-latest test-slow test-robust test-gpu test-browser style quality codec base reproduce bench bench-gpu

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 12

install: $(INSTALLED) ## create .venv once and install the locked packages and this one, editable

# Compiled when installed: where Python may not write bytecode, every process compiles what it imports, for 15 seconds.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c '$(CHECK)'
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$$(command -v uv || echo $(BIN)/uv) pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps \
		-r requirements.lock -e .
	@touch $@

lock: $(INSTALLED) ## renew requirements.lock from pyproject.toml
	$$(command -v uv || echo $(BIN)/uv) pip compile --quiet --no-header --no-emit-index-url --universal \
		--python-version 3.11 --extra browser --extra dev --extra lerobot --extra perceptual --extra swm --extra textworld \
		--extra tracking \
		--upgrade pyproject.toml -o requirements.lock

quickstart: $(INSTALLED) ## the main job on a CPU: outputs/quickstart
	$(BIN)/rlvr-world run pusht/quickstart

demo: $(INSTALLED) ## steer the quickstart's models in the browser; RUN=FOLDER for those of another run
	$(BIN)/rlvr-world demo $(RUN)

test: $(INSTALLED) ## all tests a CPU passes offline in minutes; PROCESSES=N for more than 2
	$(PYTEST) $(PARALLEL) -m $(FAST)

test-latest: ## the same with the newest packages, past the upper bounds, in .venv-latest
	@$(PYTHON) -c '$(CHECK)'
	@test -x $(LATEST)/bin/python && $(LATEST)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(LATEST)
	@command -v uv >/dev/null || test -x $(LATEST)/bin/uv || $(LATEST)/bin/python -m pip install --quiet uv
	sed -E 's/,<[0-9.]+"/"/' pyproject.toml > $(LATEST)/pyproject.toml
	$$(command -v uv || echo $(LATEST)/bin/uv) pip install --quiet --python $(LATEST)/bin/python \
		--upgrade --all-extras -r $(LATEST)/pyproject.toml
	$$(command -v uv || echo $(LATEST)/bin/uv) pip install --quiet --python $(LATEST)/bin/python --no-deps -e .
	$(subst $(BIN),$(LATEST)/bin,$(PYTEST)) $(PARALLEL) -m $(FAST)

test-slow: $(INSTALLED) ## the tests that take long, those that need most of the memory alone; TURN=N for a third of them
	$(PYTEST) $(PARALLEL) -m "slow and not memory and not gpu and not browser"
	$(PYTEST) -m "memory and not gpu and not browser"

test-robust: $(INSTALLED) ## kill, damage and deceive it for a quarter of an hour: docs/reliability.md; SEED=N for other draws
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.robust --seed $(or $(SEED),0)

test-gpu: $(INSTALLED) ## the tests that need a CUDA device
	$(PYTEST) -m gpu

test-browser: $(INSTALLED) ## the tests that need Chromium (apt-get install chromium)
	$(PYTEST) $(PARALLEL) -m browser

style: $(INSTALLED) ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

quality: $(INSTALLED) ## format, lint and types, checked only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

codec: $(INSTALLED) ## train the PushT codec that ships by its recipes (about five hours)
	$(BIN)/rlvr-world tokenizer pusht/codec
	$(BIN)/rlvr-world tokenizer pusht/codec_local
	$(BIN)/rlvr-world tokenizer pusht/codec_local --output_dir outputs/pusht-codec-final \
		--tokenizer.start_from outputs/pusht-codec-local/codec --tokenizer.max_steps 20000
	$(BIN)/rlvr-world tokenizer pusht/codec_local --output_dir outputs/pusht-codec-exploring \
		--tokenizer.start_from outputs/pusht-codec-final/codec --tokenizer.max_steps 20000 \
		--collect.train 2000 --collect.exploration 0.5
	$(BIN)/rlvr-world tokenizer pusht/codec_patches

base: $(INSTALLED) ## train the PushT base that ships by its recipe (two hours of a core)
	$(BIN)/rlvr-world pretrain pusht/base

reproduce: $(INSTALLED) ## the quickstart with three training seeds
	$(BIN)/rlvr-world reproduce quickstart

bench: $(INSTALLED) ## time a step of GRPO against plain TRL: benchmarks/results.json (an hour)
	$(BIN)/python benchmarks/run.py

bench-gpu: $(INSTALLED) ## what one GPU does, in ten minutes: benchmarks/gpu.json; goes on where it was left
	$(BIN)/python benchmarks/gpu.py
