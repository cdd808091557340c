# The few commands. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
DRIVER_BIN := driver/.venv/bin
# Where the sandbox keeps everything. A second cluster beside it needs its own: STATE=/var/lib/other UP_FLAGS="--api-port 7443".
STATE ?= /var/lib/gpu-sandbox
# More for `sandbox up`: UP_FLAGS="--board h100-80gb-hbm3 --gpus 4".
UP_FLAGS ?=
export GPU_SANDBOX_STATE_DIR := $(STATE)
# The repository's packages, never a neighbour's.
export PYTHONNOUSERSITE := 1

.PHONY: help setup up show down status check unit integration conformance e2e test bench lock format clean

help: ## This list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Python environments from the locks (called by every other target)
	@tools/setup

up: setup ## Everything: build what is missing, start the cluster, `pulumi up` the sandbox stack, show the slices
	@$(BIN)/sandbox toolchain build
	@$(BIN)/sandbox up $(UP_FLAGS)
	@$(BIN)/sandbox images load
	@$(BIN)/sandbox stack up
	@$(BIN)/sandbox show
	@printf '\nTry next%s:\n' "$(if $(filter-out /var/lib/gpu-sandbox,$(STATE)), (after export GPU_SANDBOX_STATE_DIR=$(STATE)))"
	@printf '  %s\n' \
	  "$(BIN)/sandbox kubectl -n demo logs deploy/fashion-mnist-small     # the slice it holds, and its training" \
	  "$(BIN)/sandbox kubectl -n demo exec deploy/fashion-mnist-large -- nvidia-smi" \
	  "$(BIN)/sandbox kubectl get deviceclass                             # the menu of slices; make down ends it all"

show: setup ## The GPUs as slices, with the pods that hold them
	@$(BIN)/sandbox show

down: setup ## Destroy the stack and the cluster, leaving nothing behind
	@$(BIN)/sandbox stack destroy --best-effort
	@$(BIN)/sandbox down

status: setup ## What runs, and since when
	@$(BIN)/sandbox status

check: setup ## Static checks: formatting, lint, types
	@tools/check

unit: setup ## Tests that need neither root nor a cluster
	@$(BIN)/pytest tests/unit

conformance: setup ## The simulated NVML against NVIDIA's semantics, through NVIDIA's own Python binding
	@$(BIN)/pytest tests/conformance

integration: setup ## Driver and Pulumi stand-ins against a real API server
	@$(BIN)/sandbox toolchain build
	@$(DRIVER_BIN)/pytest --rootdir driver -c driver/pyproject.toml driver/tests
	@$(BIN)/pytest tests/integration

e2e: setup ## The whole sandbox: cluster, driver in its pod, stack, workloads
	@$(BIN)/sandbox toolchain build
	@$(BIN)/pytest tests/e2e

test: setup ## Everything that must pass: static checks and all tests
	@tools/test

bench: setup ## Measure; results go to docs/benchmarks.md by hand
	@$(BIN)/sandbox toolchain build
	@$(BIN)/python -m tests.bench

format: setup ## Format all Python
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup ## Remake the locks after a change of dependencies
	@PATH=".venv/uv/bin:$$PATH" tools/lock

clean: ## Remove environments and caches of this checkout (the toolchain cache stays: `sandbox toolchain clean --all`)
	rm -rf .venv driver/.venv .mypy_cache .ruff_cache .pytest_cache driver/.mypy_cache driver/.pytest_cache
