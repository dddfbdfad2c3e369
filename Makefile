# Each target sets up what it needs, and is quick when nothing changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all test-ray test-rest check engine test-engine engine-tidy engine-fuzz engine-python \
	bench-training bench-conversion bench-serving bench-ab-test bench-engine faults setup lock clean help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## digits, from images to a live endpoint and back down, in about a minute
	$(BIN)/manta pipeline --data digits $(ARGS)

# Tests of Ray mostly wait, so all others run beside them.
TOGETHER := $(MAKE) --no-print-directory --jobs 2 test-ray test-rest

test: check test-engine ## check and test, all but what takes minutes
	$(TOGETHER) SELECTED='and not minutes'

test-all: check test-engine ## test everything: also lost nodes, workers killed in mid-epoch, sweeps that are stopped
	$(TOGETHER)

test-ray: $(VENV)/.installed
	$(BIN)/pytest -m 'ray $(SELECTED)' $(ARGS)

test-rest: $(VENV)/.installed
	$(BIN)/pytest -m 'not ray $(SELECTED)' $(ARGS)

check: $(VENV)/.installed ## linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

engine: $(VENV)/.installed ## the C++ engine: packages where root, build in build/engine, tests (PRESET=address: with a sanitizer)
	engine/scripts/build.sh $(PRESET)

test-engine: $(VENV)/.installed
	engine/scripts/build.sh --if-ready

engine-tidy: $(VENV)/.installed ## clang-format and clang-tidy on all C++ code, about 10 minutes on two cores
	engine/scripts/tidy.sh

engine-fuzz: $(VENV)/.installed ## libFuzzer on images and on requests, SECONDS (60) each
	engine/scripts/fuzz.sh $(SECONDS)

engine-python: engine ## the engine as a Python module, into the environment
	cmake --install build/engine --prefix build/engine-tree > build/engine/install.log
	$(PIP_INSTALL) ./engine/python --config-settings=cmake.define.CMAKE_PREFIX_PATH=$(CURDIR)/build/engine-tree

bench-training: $(VENV)/.installed ## Ray against the plain loop and torchvision, about 8 minutes on two cores
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-conversion: $(VENV)/.installed ## a compressed model against the one it was made of, about 4 minutes on two cores
	$(BIN)/python -m benchmarks.conversion $(ARGS)

bench-ab-test: $(VENV)/.installed ## false positives and power of the A/B test by simulation, about a minute
	$(BIN)/python -m benchmarks.ab_test $(ARGS)

faults: $(VENV)/.installed ## what clients see when parts of the service are killed or replaced, about 5 minutes on two cores
	$(BIN)/python -m benchmarks.faults $(ARGS)

bench-engine: engine ## the engine's library and server against Python, about 2 minutes on two cores
	$(BIN)/python -m benchmarks.engine $(ARGS)

setup: $(VENV)/.installed ## the environment alone

$(VENV)/.installed: pyproject.toml constraints.txt requirements-tflite.txt
	$(PYTHON) -c 'import sys; sys.exit("Manta needs Python 3.11 or newer, %s is %d.%d" % ("$(PYTHON)", *sys.version_info[:2]) if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP_INSTALL) --index-url $(TORCH_INDEX) torch torchvision)
	$(PIP_INSTALL) --editable '.[dev]'
	$(PIP_INSTALL) --no-deps --requirement requirements-tflite.txt
	touch $@

lock: $(VENV)/.installed ## write the versions installed now to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '@ file:' > constraints.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
