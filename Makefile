# make demo   the main job on real pictures, in an environment of its own
# make test   everything that can be checked, in one command
# make bench  speed against the plain script that a practitioner writes
# make clean  remove what the checks left behind; the environment stays

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2

BIN := $(VENV)/bin
DEMO := $(VENV)/installed-demo
DEV := $(VENV)/installed-dev
PINS := pyproject.toml constraints.txt

# Every process of a test would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test bench clean

demo: $(DEMO)
	$(BIN)/retarget demo

# One thread a process: two processes of two threads each would fight over two cores.
test: export OMP_NUM_THREADS ?= 1
test: export MYPY_NUM_WORKERS ?= $(WORKERS)
test: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n $(WORKERS) --dist worksteal \
	  --cov --cov-report term:skip-covered --cov-fail-under 90

bench: $(DEV)
	$(BIN)/python benchmarks/run.py

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(DEMO): $(PINS) | $(BIN)/pip
	@echo "Installing into $(VENV): some minutes the first time."
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo]"
	@touch $@

# The tools of the checks come with the demo's packages, so this serves `make demo` too.
$(DEV): $(PINS) | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(DEMO) $@

clean:
	rm -rf build dist src/*.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -exec rm -rf {} +
