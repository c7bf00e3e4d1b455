# Everything sets itself up: `make demo` and `make test` need Python >= 3.11 and make, nothing else.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt scripts/bootstrap.py
# Whole files to each process, the longest first (tests/pace.py); pytest keeps the tests that it has translated.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo serve test quick interop check dev hooks docs api bench reliability wheel clean

help:   ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## */\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.installed  ## fetch a small model, train it, show what it learned
	@$(BIN)/python scripts/build_frontend.py || echo "warning: the front end could not be built; the demo needs none"
	@$(BIN)/droidft demo $(ARGS)

serve: $(VENV)/.installed  ## open the application in a browser
	@$(BIN)/python scripts/build_frontend.py
	@$(BIN)/droidft serve $(ARGS)

test: $(VENV)/.installed-dev  ## run the tests (JOBS=1 for one at a time)
	@$(BIN)/python scripts/build_frontend.py
	@$(PYTEST) $(ARGS)

quick: $(VENV)/.installed-dev  ## run the tests that were fast when last measured
	@$(PYTEST) --quick $(ARGS)

interop: $(VENV)-interop/.installed  ## compare exports with transformers, PEFT and llama.cpp, in an environment of its own
	@$(VENV)-interop/bin/python -m pytest --numprocesses $(JOBS) --dist loadgroup tests/interop $(patsubst %,tests/models/gguf/test_%.py,kinds llama_cpp lora vocabulary) $(ARGS)

check: $(VENV)/.installed-dev  ## style, types, import rules, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python scripts/generate_api.py --check
	$(BIN)/python scripts/build_frontend.py --check

dev: $(VENV)/.installed-dev  ## set up for working on the code
	@echo "Ready: . $(BIN)/activate"

hooks: $(VENV)/.installed-dev  ## check style and message before each commit
	$(BIN)/pre-commit install

docs: $(VENV)/.installed-dev  ## write the generated documents again
	$(BIN)/python scripts/generate_docs.py

api: $(VENV)/.installed-dev  ## generate the browser's client again, after a change of the server's schemas
	$(BIN)/python scripts/generate_api.py
	cd frontend && npm run generate

bench: $(VENV)/.installed-dev  ## measure speed and memory against others (ARGS="..." is passed on)
	$(BIN)/python -m bench.train $(ARGS)

reliability: $(VENV)/.installed-dev  ## kill a training run 200 times and compare (ARGS="--kills 20")
	$(BIN)/python -m bench.reliability $(ARGS)

wheel: $(VENV)/.installed  ## build a wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what can be made again
	rm -rf $(VENV) $(VENV)-interop dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.installed: $(INPUTS)
	@$(PYTHON) scripts/bootstrap.py $(VENV)
	@touch $@

$(VENV)/.installed-dev: $(INPUTS)
	@$(PYTHON) scripts/bootstrap.py $(VENV) --dev
	@touch $(VENV)/.installed $@

$(VENV)-interop/.installed: $(INPUTS)
	@$(PYTHON) scripts/bootstrap.py $(VENV)-interop --interop
	@touch $@
