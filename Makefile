# The same commands for a person and for CI. PIP_FLAGS is passed to pip: name the index of PyTorch's
# CPU builds there to spare yourself gigabytes of CUDA packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: search test check unit format clean

search: $(INSTALLED)  ## a first search, on digits: about three minutes on two cores
	$(BIN)/python run_search.py launch

test: check unit  ## all that must hold before a commit

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/installed-dev
	$(BIN)/python -m pytest

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[dev,postgresql]'
	touch $@ $(INSTALLED)
