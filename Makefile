# Everything a newcomer or a CI machine needs; each target sets up what it uses. `make` alone lists them.
.POSIX:
.DEFAULT_GOAL := help
.PHONY: help demo serve check test servers bench fuzz sabotage mutate tamper revocations coverage hostile atheris docs

BIN := .venv/bin
VENV := .venv/pyvenv.cfg
SHOW := .venv/.show
READY := .venv/.ready
N ?= 2000
TRIALS ?= 100
SECONDS ?= 60

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: $(SHOW) ## two tenants, one SQL text, five attacks; ends by itself
	@$(BIN)/python -m sample_engine.demo

serve: $(SHOW) ## the sample engine, left running, with a curl line to try
	@$(BIN)/python -m sample_engine.demo --serve

check: $(READY) ## format, lint, types, layers and the fast tests: three minutes or so on two cores
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto -m "not slow and not server"

test: $(READY) ## every test on every database that can be started here
	$(BIN)/python -m pytest -n auto

servers: $(READY) ## make sure that the test servers can be started
	$(BIN)/python -m tests.servers --check

bench: $(READY) ## what rowseal costs
	$(BIN)/python -m benchmarks

fuzz: $(READY) ## N random queries (default 2000) against the oracles, on all cores; OPTIONS="--seed 1 --summary fuzz.json" can be stopped and goes on
	$(BIN)/python -m tests.fuzz $(N) $(OPTIONS)

sabotage: $(READY) ## break the security core in every way of mutation/sabotages.py: a test must notice each
	$(BIN)/python -m mutation.sabotage

mutate: $(READY) ## change every small part of M (default: the whole security core; hours): the score of the tests
	$(BIN)/python -m mutation $(M)

tamper: $(READY) ## change N secured queries (default 2000) in every way: the witness must refuse each
	$(BIN)/python -m tests.tampering $(N)

revocations: $(READY) ## TRIALS trials (default 100): two gateways on one store agree within the bound, whichever process is killed
	$(BIN)/python -m tests.revocations $(TRIALS) $(OPTIONS)

coverage: $(READY) ## branches of the security core that the fast tests do not take
	$(BIN)/python -m coverage run -m pytest -m "not slow and not server"
	$(BIN)/python -m coverage report

hostile: $(READY) ## look SECONDS seconds (default 60) for SQL that costs too much, in each dialect and form of the parser
	$(BIN)/python -m tests.hostile $(SECONDS)
	$(BIN)/python -m tests.hostile $(SECONDS) --pure

atheris: $(READY) ## fuzz what reads tokens for SECONDS seconds (default 60), guided by the branches that it reaches; Linux on x86-64
	$(BIN)/python -m tests.token_fuzz $(SECONDS)

docs: $(READY) ## write the reference pages that come from the code
	$(BIN)/python -m docs.generate

$(VENV):
	@python=; for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then echo "rowseal needs Python 3.11 or newer on the PATH" >&2; exit 1; fi; \
	$$python -m venv .venv || \
	  { rm -rf .venv; echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }

# The compiled parser has no wheel for some platforms: there rowseal runs on the pure Python one, slower and otherwise the same.
$(SHOW): pyproject.toml $(VENV)
	@echo "installing into .venv, once: half a minute or so ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[fast,sample]' || $(BIN)/pip install -q --disable-pip-version-check -e '.[sample]'
	@touch $@

$(READY): pyproject.toml $(VENV)
	@echo "installing what the tests need into .venv, once: a minute or a few ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[fast,dev]' || $(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $(SHOW) $@
