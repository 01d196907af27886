# fghash from a checkout. Needs git, make and Python 3.11 or later; everything else is installed into .venv.
#   make demo             train on the embedded data set, print the results table
#   make demo METHOD=dpq  the same with another method
#   make test             install what is missing, run the tests
#   make test TEST_PROCESSES=0   in one process
#   PYTHON=/path/python3  choose the interpreter that .venv is made of

METHOD ?= phpq
RUNS   ?= runs
TEST_PROCESSES ?= 2
VENV   ?= .venv
BIN    := $(VENV)/bin
NEW    := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
                    if $$p -c '$(NEW)' 2>/dev/null; then echo $$p; exit; fi; done; echo python3)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check smoke bench-speed leaderboard docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(VENV)/.ready  ## train METHOD on the embedded data set, print the table and the path of the CSV
	$(BIN)/fghash fit --method $(METHOD) --data synthetic --gpus 0 --runs $(RUNS)

test: $(VENV)/.ready-dev  ## run all tests and doctests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadgroup

lint: $(VENV)/.ready-dev  ## style, formatting, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --config setup.cfg

types: $(VENV)/.ready-dev  ## static types
	$(BIN)/mypy

check: lint types test  ## lint, types and tests

smoke: $(VENV)/.ready  ## one short training of every registered method, in a throw-away store
	@store=$$(mktemp -d) && trap 'rm -rf "$$store"' EXIT && \
	for method in $$($(BIN)/python -c 'from fghash.methods import METHODS; print(*sorted(METHODS))'); do \
	  $(BIN)/fghash fit --method $$method --data synthetic --gpus 0 --runs "$$store" --trainer.max_epochs 1 || exit 1; \
	done

bench-speed: $(VENV)/.ready-dev  ## benchmarks of the evaluator; they print ratios and decide nothing
	@for script in experiments/speed/*.py; do [ -e "$$script" ] || continue; echo "== $$script"; $(BIN)/python $$script || exit 1; done

leaderboard: $(VENV)/.ready  ## rebuild the leaderboard of RUNS as CSV and Markdown
	$(BIN)/fghash leaderboard --runs $(RUNS) --out $(RUNS)/leaderboard.csv --out $(RUNS)/leaderboard.md

docs: $(VENV)/.ready-docs  ## build the site into ./site, without network; broken links fail
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/mkdocs.yml
	@echo "open site/index.html (its search works where it is served: $(BIN)/python -m http.server -d site)"

clean:  ## remove caches and build outputs (neither .venv nor any run)
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find src baselines tests experiments -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c '$(NEW)' 2>/dev/null || { \
	  echo "fghash needs Python 3.11 or later, got $$($(PYTHON) --version 2>&1 || true); choose one: make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras. uv is quick but may be missing for a platform; then pip does the same. Where
# the tested versions themselves do not install, the ranges of setup.cfg apply.
define install
	@echo "installing fghash into $(VENV) (a few minutes the first time)"
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv || echo "no uv here: pip alone, slower"
	@$(BIN)/uv pip install --python $(BIN)/python --editable '$(1)' --constraint constraints.txt \
	  || $(BIN)/python -m pip install --editable '$(1)' --constraint constraints.txt \
	  || { echo "the tested versions do not install here: taking the ranges of setup.cfg"; \
	       $(BIN)/python -m pip install --editable '$(1)'; }
	@touch $@
endef

PINS := setup.cfg pyproject.toml constraints.txt

$(VENV)/.ready: $(PINS) | $(BIN)/python
	$(call install,.)

$(VENV)/.ready-%: $(PINS) | $(BIN)/python
	$(call install,.[$*])
