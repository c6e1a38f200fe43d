# The same commands for a person and for CI. PIP_FLAGS is passed to pip: name the index of PyTorch's
# CPU builds there to spare yourself gigabytes of CUDA packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: search test check unit python docs chaos fuzz exports examples sweep audit format clean

search: $(INSTALLED)  ## a first search, on digits: three to ten minutes on two cores
	$(BIN)/python run_search.py launch

test: $(VENV)/installed-dev  ## all that must hold before a commit; types are checked beside the tests
	$(MAKE) -j2 check unit

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/installed-dev  ## three files at a time, each whole in one process: many wait
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

python:  ## the tests under another interpreter, in a .venv of its own: make python PYTHON=python3.13
	$(MAKE) unit VENV=.venv-$(notdir $(PYTHON))

docs: $(VENV)/installed-dev  ## the pages and the API reference as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

chaos: $(VENV)/installed-dev  ## 120 kills on a Ray cluster, databases away for 30 s, eight writers: an hour
	ISOSHARE_KILLS=120 ISOSHARE_WRITE_SECONDS=60 $(BIN)/python -m pytest -s tests/chaos tests/test_writers.py
	ISOSHARE_AWAY_SECONDS=30 $(BIN)/python -m pytest -s tests/test_outage.py
	ISOSHARE_EXAMPLES=400 $(BIN)/python -m pytest tests/test_interruptions.py

fuzz: $(VENV)/installed-dev  ## 100,000 broken plan files: minutes
	ISOSHARE_FUZZ=100000 $(BIN)/python -m pytest tests/test_plan_fuzz.py

sweep: $(VENV)/installed-dev  ## all networks of timm's families and of torchvision, by every method: minutes
	ISOSHARE_ALL_NETWORKS=1 $(BIN)/python -m pytest tests/test_timm.py tests/test_torchvision.py

exports: $(VENV)/installed-dev  ## every method on three backbones as ONNX and safetensors, bytes held: half an hour
	ISOSHARE_ALL_EXPORTS=1 $(BIN)/python -m pytest tests/test_exports.py tests/test_onnx.py tests/test_held_bytes.py

examples: $(VENV)/installed-dev  ## all of examples/, some with libraries of their own: minutes
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[examples]'
	ISOSHARE_ALL_EXAMPLES=1 $(BIN)/python -m pytest tests/test_examples.py

audit: $(VENV)/installed-dev  ## known vulnerabilities of what is pinned, and risky code of ours
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[audit]'
	$(BIN)/bandit -q -c pyproject.toml -r run_search.py space evaluators storage search
	$(BIN)/pip-audit --disable-pip --no-deps -r constraints.txt

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-* site .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(BIN)/python:  # pip of 2023 (Debian's) takes five times as long to resolve; it still works
	$(PYTHON) -m venv $(VENV)
	-$@ -m pip install -q --upgrade "pip>=25"

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[dev,postgresql]'
	touch $@ $(INSTALLED)
