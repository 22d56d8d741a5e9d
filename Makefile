# Needs python3 (>= 3.11), pip and make; everything else is installed into .venv.
PYTHON ?= python3

# Processes that tests and demos start read what the first one compiled, whatever the shell says:
# importing from source takes each of them many seconds.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help python venv demo test check audit bench docs test-latest lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("LucidVI needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % v)'

venv: .venv/.stamp ## install the package and all developer tools into .venv

.venv/.package: pyproject.toml constraints.txt | python
	@echo "Installing LucidVI with all that it needs into .venv: about 500 MB to download, 1.5 GB on disk"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -qq --upgrade pip
	.venv/bin/python -m pip install -qq --no-compile -c constraints.txt --editable .
	@touch $@

.venv/.stamp: .venv/.package
	@echo "Installing the developer tools into .venv, too: about 150 MB to download"
	.venv/bin/python -m pip install -qq -c constraints.txt --group dev
	@touch $@

demo: .venv/.package ## train on a small data set and show what comes out
	.venv/bin/lucidvi demo

test: venv ## run the tests, as many at a time as there are cores
	.venv/bin/python -m pytest -n auto --dist worksteal --durations 15

check: venv ## ruff, mypy and the order of imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

audit: venv ## look the pinned releases up among known vulnerabilities, where there is internet
	.venv/bin/python scripts/audit.py

bench: venv ## measure speed and quality against scvi-tools, see benchmarks/README.md; takes hours
	.venv/bin/python benchmarks/speed.py
	.venv/bin/python benchmarks/time_to_quality.py
	.venv/bin/python benchmarks/quality.py
	.venv/bin/python benchmarks/inference.py

docs: venv ## build the docs into docs/_build; LUCIDVI_DOCS_EXECUTE=0 does not run the tutorials
	.venv/bin/python -m sphinx -W --keep-going -n -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

test-latest: python ## run the tests that are not slow with the newest Python and releases, in .venv-latest
	@PYTHON=$(PYTHON) scripts/test_latest.sh

lock: python ## rewrite constraints.txt from constraints.in (Python 3.11)
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install -qq --upgrade pip
	.venv-lock/bin/python -m pip install -qq -c constraints.in --group dev --editable .
	.venv-lock/bin/python scripts/lock.py
	rm -rf .venv-lock

clean: ## remove environments, caches and builds
	rm -rf .venv .venv-latest .venv-lock build dist docs/_build docs/generated docs/tutorials
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts docs -name __pycache__ -type d -prune -exec rm -rf {} +
