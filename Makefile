# Everything a newcomer needs, on a machine with Python 3.11 or newer and make. `make help` lists it.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
# A change of the requirements makes another stamp, and so another installation.
RUNTIME := $(VENV)/.installed-$(shell cksum < requirements.txt | cut -d ' ' -f 1)
DEVELOPMENT := $(VENV)/.installed-dev-$(shell cat requirements.txt requirements-dev.txt | cksum | cut -d ' ' -f 1)
BABEL := $(RUN) -m babel.messages.frontend --quiet
KEYWORDS := -k gettext_lazy -k gettext_noop -k ngettext_lazy:1,2 -k pgettext_lazy:1c,2
PIP := $(RUN) -m pip --disable-pip-version-check --no-input install
# auto: browser tests run where there is a Chromium; 0: not; required: a run without them fails.
BROWSER_TESTS ?= auto
# The same for the tests that need root and Debian's packages of a real server.
SERVER_TESTS ?= auto
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint style types imports migrations secrets audit messages bench chaos clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## the whole shop on this machine, with play money; ARGS="--port 8001" for another port
	@$(RUN) manage.py demo $(ARGS)

test: $(DEVELOPMENT) ## all tests; ARGS="tests/orders -k refund" for some
	@if [ "$(BROWSER_TESTS)" != 0 ]; then \
		$(RUN) -m tests.chromium && $(RUN) -m tests.telegram_script || [ "$(BROWSER_TESTS)" = auto ]; fi
	@if [ "$(SERVER_TESTS)" = required ]; then $(RUN) -m tests.debian; fi
	@BROWSER_TESTS=$(BROWSER_TESTS) SERVER_TESTS=$(SERVER_TESTS) $(RUN) -m pytest $(ARGS)

lint: style types imports migrations ## style, types, imports, migrations; `make -k lint` to see all faults

style: $(DEVELOPMENT)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(DEVELOPMENT)
	$(RUN) -m mypy

imports: $(DEVELOPMENT)
	$(VENV)/bin/lint-imports

migrations: $(DEVELOPMENT)
	@READ_DOT_ENV=off DEBUG=on $(RUN) manage.py lintmigrations --settings tests.migration_linter

secrets: $(DEVELOPMENT) ## secrets in tracked files
	@$(RUN) -m tests.secret_scan

audit: $(DEVELOPMENT) ## known holes in the packages that are installed
	@$(RUN) -m tests.dependency_audit

messages: $(RUNTIME) ## new texts of the code into the .po file, and the translations compiled
	@mkdir -p var
	@$(BABEL) extract $(KEYWORDS) --no-location --omit-header --output var/django.pot esimshop catalog orders payments
	@$(BABEL) update --domain django --output-dir esimshop/locale --input-file var/django.pot --no-fuzzy-matching --no-wrap \
		--ignore-pot-creation-date
	@$(RUN) -m babel.messages.frontend compile --domain django --directory esimshop/locale --statistics

bench: $(DEVELOPMENT) ## the measurements of tests/benchmarks; ARGS="--help" lists them, ARGS=load is a day of a busy shop
	@$(RUN) -m tests.benchmarks $(ARGS)

chaos: $(DEVELOPMENT) ## sell while everything breaks, then compare the books; ARGS="--purchases 500 --seed 7"
	@$(RUN) -m tests.chaos $(ARGS)

clean: ## the virtual environment and everything the demo and the tests left here
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache test-results

$(RUN):
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed, and none was found."; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(RUNTIME): | $(RUN)
	@echo "Installing what the shop needs (requirements.txt)"
	@$(PIP) --requirement requirements.txt
	@rm -f $(VENV)/.installed-[0-9]* && touch $@

$(DEVELOPMENT): | $(RUN)
	@echo "Installing what the shop and its tests need (requirements-dev.txt)"
	@$(PIP) --requirement requirements-dev.txt
	@rm -f $(VENV)/.installed-* && touch $@ $(RUNTIME)
