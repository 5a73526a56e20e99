# Everything a person runs, from a clean checkout with only Python >= 3.11 and make.
.PHONY: demo dev test lint mypy pyright docs docs-translations pictures format bench images crash-matrix bulk-kills fleet-matrix fleet-soak fleet-rate fleet-throughput mutated-answers swapped-answers requests-through-nginx tutorial dist clean

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter on the PATH that is new enough; PYTHON=... overrides it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
# Of the tests; three keep two cores busy, for many tests wait for another process. Who has nothing left helps the others.
WORKERS := -n 3 --dist worksteal
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

demo: $(VENV)/.demo
	@$(BIN)/smspilot demo

dev: $(VENV)/.dev

test: $(VENV)/.dev
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(WORKERS) -m "not volume"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report
	@echo "What reads and writes JSON again, without msgspec, and what is too many messages for counting coverage"
	SMSPILOT_JSON=stdlib $(BIN)/python -m pytest $(WORKERS) -q -m "not volume" tests/wire_format tests/engine
	$(BIN)/python -m pytest $(WORKERS) -q -m volume
	$(BIN)/python tests/wheel/try_wheel.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Each of them keeps one core busy.
	$(MAKE) --jobs=2 mypy pyright

mypy: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy tests/*.py
	for folder in tests/[a-z]*/; do $(BIN)/mypy $$folder || exit 1; done

pyright: $(VENV)/.dev
	$(BIN)/pyright
	@# The mistakes that it must find.
	$(BIN)/pyright --project tests/typing
	@# What users import is typed to the last symbol; this mode of pyright takes the first Python on the PATH.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --ignoreexternal --verifytypes smspilot_async

docs: $(VENV)/.dev
	$(BIN)/python docs/tools/build_site.py
	@echo "The documentation is in site/index.html"

# Of the comparison and of the demo's output, from a run of it; tests compare them with another run.
pictures: $(VENV)/.dev
	$(BIN)/python docs/tools/demo_pictures.py
	$(BIN)/python docs/tools/plot_picture.py

# After a change of a page that is also there in Russian: its catalogue gets what is new, to be translated.
docs-translations: $(VENV)/.dev
	$(BIN)/python docs/tools/page_translations.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The command's messages, as the source has them now, into its catalogue; it names those without a translation.
.PHONY: translations
translations: $(VENV)/.dev
	$(BIN)/python tests/support/command_messages.py

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# The images of the emulator and of the worker, by the first builder there is; BUILDER=... names one.
BUILDER ?= $(shell for b in podman docker buildah; do command -v $$b && break; done)
images:
	@test -n "$(BUILDER)" || { echo "No builder was found: install podman, docker or buildah (or name one: make BUILDER=...)"; exit 1; }
	for name in emulator worker; do \
		$(BUILDER) build $(if $(findstring docker,$(BUILDER)),,--format docker) --target $$name \
			--tag smspilot-$$name --file examples/containers/Containerfile . || exit 1; \
	done

# A campaign of 10,000 messages on each database, and 205 kills of its senders: twenty minutes.
crash-matrix: $(VENV)/.dev
	$(BIN)/python tests/outbox/crash_matrix.py

# Fifty kills of `smspilot bulk` at random moments: five minutes.
bulk-kills: $(VENV)/.dev
	KILLS=50 $(BIN)/python -m pytest $(WORKERS) tests/cli/test_cli_kills.py

# As root: 30 schedules of faults on five hosts, each with a campaign of 50,000 and codes beside it: 40 minutes.
fleet-matrix: $(VENV)/.dev
	$(BIN)/python tests/workers/fleet_matrix.py

# As root: ten minutes of random faults; memory, connections and open files of each worker at the beginning and the end.
fleet-soak: $(VENV)/.dev
	$(BIN)/python tests/workers/fleet_soak.py

# Two minutes each: what three workers send in any ten seconds at a limited rate; what 1, 2 and 4 workers send at most.
fleet-rate: $(VENV)/.dev
	$(BIN)/python tests/workers/fleet_rate.py
fleet-throughput: $(VENV)/.dev
	$(BIN)/python tests/workers/fleet_throughput.py

# A million answers with mistakes at random, and a hundred thousand requests at once that are cancelled and reset: a
# minute or two each.
mutated-answers: $(VENV)/.dev
	$(BIN)/python tests/client/mutated_answers.py
swapped-answers: $(VENV)/.dev
	$(BIN)/python tests/client/swapped_answers.py

# A million messages through nginx, each in a request of its own: some ten minutes.
requests-through-nginx: $(VENV)/.dev
	$(BIN)/python tests/client/requests_through_nginx.py

# The tutorial, typed from its own text in a new environment with the wheel in it: two minutes.
tutorial: $(VENV)/.dev
	PYTHONPATH=tests/support $(BIN)/python tests/docs/type_tutorial.py

# What a release publishes.
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) dist build site .mypy_cache .ruff_cache .pytest_cache .nox .hypothesis .coverage .coverage.*

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "smspilot_async needs Python 3.11 or newer; none was found on the PATH (or name one: make PYTHON=...)"; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "Python's venv module is missing (Debian: apt install python3-venv)"; exit 1; }
	@$(PIP) --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	@$(PIP) -e '.[cli,emulator]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(PIP) --group dev
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	@$(PIP) --group bench
	@touch $@
