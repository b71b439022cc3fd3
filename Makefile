# `make demo` and `make test` are all that a fresh machine with Python 3.11+ and make needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check unit slow bench reports reports-check memory-accuracy latency-accuracy gpu-check clean

help:  ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.base

demo: $(VENV)/.base  ## Analyse the ONNX ResNet-50 that ships inside the onnx package
	@$(BIN)/cnnprof analyze "$$($(BIN)/python -c 'import pathlib, onnx; print(pathlib.Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx")')"

test: check unit reports-check  ## Everything that CI runs: lint, types, rooms, tests

check: $(VENV)/.dev  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev  ## The tests alone
	$(BIN)/python -m pytest -n 2 --dist worksteal -p no:benchmark -q

slow: $(VENV)/.dev  ## Walks of whole model collections (all of timm, torchvision)
	$(BIN)/python -m pytest -m slow -q

bench: $(VENV)/.dev  ## Benchmarks; compare the ratios, machines are noisy
	$(BIN)/python -m pytest tests/bench -m bench --benchmark-disable-gc -q -s

reports: $(VENV)/.dev  ## Regenerate the committed gallery in reports/
	$(BIN)/python -m cnnprof.cli.gallery -o reports

reports-check: $(VENV)/.dev  ## Fail if reports/ isn't what would be written now
	$(BIN)/python -m cnnprof.cli.gallery -o reports --check

memory-accuracy: $(VENV)/.dev  ## Predicted against measured peak memory over torchvision, into reports/
	$(BIN)/python -m cnnprof.measure.memory_accuracy

latency-accuracy: $(VENV)/.dev  ## Calibrate this machine, predict and measure 48 CNNs, into reports/accuracy/
	@mkdir -p reports/accuracy
	$(BIN)/cnnprof verify --budget 240s -o reports/accuracy/$(shell hostname).json
	$(BIN)/python -m cnnprof.cli.gallery -o reports

gpu-check: $(VENV)/.dev  ## Everything about a CUDA GPU in 8 minutes, into reports/accuracy/
	$(BIN)/python -m cnnprof.measure.gpu_check

clean:  ## Remove what make made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .benchmarks
