# Every target sets up what it needs on a machine that has nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PARTS  := contrib/web contrib/fastapi contrib/redis contrib/persistence contrib/taskiq contrib/http contrib/oidc contrib/logging contrib/tracing contrib/audit examples/boxoffice examples/ratelimit
LOCAL  := -e . $(addprefix -e ,$(PARTS))
META   := pyproject.toml constraints.txt $(addsuffix /pyproject.toml,$(PARTS))
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# uv installs everything in 15 seconds where pip takes 45. It doesn't read pip's configuration, so it gets pip's index.
# Where uv can't install, pip does; the pip of an old Python knows no dependency groups, and is replaced first.
INDEX   = $(shell $(BIN)/python -m pip config get global.index-url 2>/dev/null)
UV      = $(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX)) $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt
define install
	@echo "installing $(1) into $(VENV): less than a minute the first time"
	@$(UV) $(2) || { echo "uv can't install; trying pip, which takes longer"; \
		$(PIP) install --upgrade pip && $(PIP) install -c constraints.txt $(2); }
endef
# The tests of tasks, databases and processes mostly wait for leases, timeouts and servers: two workers for each core
# use the time in which one would wait. Each worker has servers of its own and needs about 200 MB.
WORKERS ?= $(shell echo $$(( 2 * $$(getconf _NPROCESSORS_ONLN) )))

.PHONY: run test check fuzz mutants bench outside docs clean help

help:
	@echo "make run     set up and serve the example on http://127.0.0.1:8000"
	@echo "make test    every test, on servers that the tests start themselves"
	@echo "make check   lint, format, types, architecture, docs, examples"
	@echo "make fuzz    the laws of the lifecycle, exhaustively and at random (long)"
	@echo "make mutants broken engines, each of which the tests must find"
	@echo "make bench   figures against peers, as ratios"
	@echo "make outside other projects' own tests with every application wrapped (long, downloads them)"

run: $(VENV)/.run
	$(BIN)/bandmaster run boxoffice:app --env-file examples/boxoffice/development.env --show-plan

# xdist's default deals the tests of one file out to all workers, and each worker then starts the servers of the file.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p bandmaster.kernel -p bandmaster.contrib.web -p bandmaster.contrib.fastapi -p bandmaster.contrib.redis -p bandmaster.contrib.persistence -p bandmaster.contrib.taskiq -p bandmaster.contrib.http -p bandmaster.contrib.oidc -p bandmaster.contrib.logging -p bandmaster.contrib.tracing -p bandmaster.contrib.audit -p boxoffice -p bandmaster_ratelimit
	$(BIN)/mypy tests/typing
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/conformance.py --check
	$(BIN)/python docs/settings.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/bandmaster check boxoffice:app

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.kernel.fuzz --exhaustive
	$(BIN)/python -m tests.kernel.fuzz --exhaustive --policies --seconds 900
	$(BIN)/python -m tests.kernel.fuzz --hypothesis 100000

mutants: $(VENV)/.dev
	$(BIN)/python -m tests.kernel.mutants

bench: $(VENV)/.bench
	@for bench in benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

outside: $(VENV)/.dev
	$(BIN)/python -m tests.outside.suites $(ARGS)

docs: $(VENV)/.dev
	$(BIN)/mkdocs serve -a 127.0.0.1:8008

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "bandmaster needs Python 3.11 or newer; name one: make PYTHON=python3.13 ..."; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(BIN)/uv: | $(BIN)/python
	@$(PIP) install -c constraints.txt uv

$(VENV)/.run: $(META) | $(BIN)/uv
	$(call install,the example and its packages,$(LOCAL))
	@touch $@

$(VENV)/.dev: $(META) | $(BIN)/uv
	$(call install,the packages that tests and checks need,$(LOCAL) --group dev)
	@touch $@ $(VENV)/.run

$(VENV)/.bench: $(VENV)/.dev
	$(call install,the packages that benchmarks need,--group bench)
	@touch $@

clean:
	rm -rf $(VENV) .outside site .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
