# The targets of this project; `make` alone lists them.

PYTHON ?= python3
# More arguments for cdk, for instance CDK_ARGS="-c regions=eu-west-1,us-east-1".
CDK_ARGS ?=
# Your organization's own CDK CLI and Node.js in place of the wheels, by name or path, as in CDK=cdk NODE=/opt/node/bin/node.
export CDK ?=
export NODE ?=
# Whether `make deploy` may bootstrap the region for the CDK: yes or no; if empty, it asks on a terminal.
export BOOTSTRAP ?=

# pip installs libraries uncompiled, which is twice as fast; Python then compiles each module once, at its first import.
unexport PYTHONDONTWRITEBYTECODE

VERSION := $(shell $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) and print("%d.%d" % sys.version_info[:2])')
ifeq ($(VERSION),)
$(error PYTHON is $(PYTHON); allowed: Python 3.11 or newer, as in: make PYTHON=python3.13)
endif

VENV := .venv/$(VERSION)
RUN := $(VENV)/bin/python
# Installs into the environment in the folder $(1), even if the user's pip.conf or PIP_… variables name another location:
# options override both; an empty variable would not override pip.conf. Their indexes, proxies and caches are used.
pip_install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
	--no-user --target= --prefix=$(abspath $(1)) --root=/
# The local AWS runs the function with its own Python: the Lambda runtime's version, if installed.
LOCAL_PYTHON = $(shell python3.13 -c 'import ensurepip, venv' 2>/dev/null && echo python3.13 || echo $(PYTHON))

TOOLS := $(VENV)/.tools
TESTS := $(VENV)/.tests
MUTMUT := $(VENV)/.mutmut
LOCAL := .venv/local/.ready
COMMAND := .venv/command/.ready
WHEELS := $(VENV)/wheels/.ready
LOCK := .venv/lock/.ready
PEERS := .venv/peers/.ready
PROWLER := .venv/prowler/.ready
SIMULATOR := .venv/simulator/.ready

# The sources of the installed command.
SOURCES := $(shell find lambda_src -type f ! -path '*/__pycache__/*' ! -path '*.egg-info/*')

# The tests wait more than they compute, so run more of them at once than there are cores.
WORKERS ?= 4
PARALLEL = -m pytest -n $(WORKERS) --dist worksteal

# The scenarios of `make bench`, as in SCENARIOS="burst quiet"; all if empty.
SCENARIOS ?=
# Its systems, as in SYSTEMS="cold warm"; all if empty.
export SYSTEMS ?=
# How often each system runs; the scenario's own number if empty.
export REPETITIONS ?=
# The folder for the results; tests/bench/results if empty, .build/bench with SYSTEMS, REPETITIONS or TABLE_MS.
export RESULTS ?=
# The latency of DynamoDB in `make bench` and `make costs`, in milliseconds; 10 if empty. Other services have 50.
export TABLE_MS ?=

FUZZED := $(addprefix tests/unit/invariants/test_,invariants_over_time.py invariants.py fuzz.py)

.PHONY: help demo demo-rollout demo-lifecycle demo-prevention local latency bench audit-peers costs pictures check test quick coverage other-tests fuzz mutants fmt format lint types unit tools integration infra e2e browser lock synth template dist deploy destroy destroy-state clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(TOOLS) $(LOCAL) ## deploy to a local AWS and watch the enforcer at work, in two regions
	$(RUN) -m infra.demo

demo-rollout: $(TOOLS) $(LOCAL) $(COMMAND) ## require tokens on a fleet with unknown IMDSv1 callers, on a local AWS: gate, watch, revert
	$(RUN) -m infra.demo.rollout

demo-lifecycle: $(TOOLS) $(LOCAL) $(COMMAND) ## deploy, change by hand, redeploy, destroy, deploy, by the CDK and from templates, on a local AWS: no setting is lost
	$(RUN) -m infra.demo.lifecycle

demo-prevention: $(TOOLS) $(LOCAL) $(COMMAND) ## find and fix a group that launches IMDSv1, undo that, set account defaults, see a refused launch, on a local AWS
	$(RUN) -m infra.demo.prevention

local: $(TOOLS) $(LOCAL) ## run a local AWS with the deployed stack in the foreground
	$(RUN) -m infra.local

latency: $(TOOLS) $(LOCAL) ## measure how long a launch keeps allowing IMDSv1, on a local AWS
	$(RUN) -m tests.bench.latency

bench: $(TESTS) $(LOCAL) $(if $(filter c7n% metabadger,$(or $(SYSTEMS),c7n)),$(PEERS)) ## compare the enforcer and its peers on one fleet, on a local AWS: 75 minutes at most
	$(RUN) -m tests.bench $(SCENARIOS)

audit-peers: $(TOOLS) $(LOCAL) $(COMMAND) $(PEERS) $(PROWLER) ## check that Prowler and Cloud Custodian find what the audit finds, before and after enforce
	$(RUN) -m tests.audit_peers

costs: $(TESTS) $(LOCAL) ## estimate dollars a month, from what sweeps and launches need on a local AWS
	PYTHONPATH=lambda_src:. $(RUN) -m tests.bench.costs

pictures: $(TESTS) ## make the pictures in the README: needs chromium, and looks best with the font Inter
	PYTHONPATH=lambda_src:. $(RUN) -m infra.pictures

check: ## run format, lint, types and the unit tests with few examples: a minute and a half
	@$(MAKE) --no-print-directory -j 4 -O format lint types quick

test: ## run every check and every test: ten minutes at most
	@$(MAKE) --no-print-directory -j 5 -O format lint types coverage other-tests

quick: $(TESTS)
	HYPOTHESIS_PROFILE=quick $(RUN) $(PARALLEL) tests/unit

coverage: $(TESTS)
	$(RUN) $(PARALLEL) --cov --cov-fail-under=95 tests/unit

other-tests: $(TESTS) $(LOCAL) $(COMMAND) $(WHEELS) $(SIMULATOR)
	$(RUN) $(PARALLEL) tests --ignore tests/unit

fuzz: $(TESTS) ## test the invariants with 20,000 examples and more: 10 minutes at most
	HYPOTHESIS_PROFILE=fuzz $(RUN) $(PARALLEL) $(FUZZED)

mutants: $(TESTS) $(MUTMUT) ## find which of 400 mutations of the rules the unit tests miss: 20 minutes at most
	$(RUN) -m tests.mutants

fmt: $(TESTS) ## format the code, and fix what the linter can fix
	$(RUN) -m ruff format
	$(RUN) -m ruff check --fix

format: $(TESTS) ## check that the code is formatted
	$(RUN) -m ruff format --check

lint: $(TESTS) ## run ruff, and check which folder imports which
	$(RUN) -m ruff check
	cd lambda_src && ../$(VENV)/bin/lint-imports --no-cache --no-logo ../pyproject.toml

types: $(TESTS) ## run mypy, strict
	$(RUN) -m mypy lambda_src infra tests

unit: $(TESTS) ## run the unit tests
	$(RUN) -m pytest tests/unit

integration: $(TESTS) $(LOCAL) $(COMMAND) ## run the tests of single parts against the local AWS
	$(RUN) -m pytest tests/integration

tools: $(TESTS) ## run the tests of the tools: bench, costs, pictures, peers
	$(RUN) -m pytest tests/tools

infra: $(TESTS) $(LOCAL) $(WHEELS) $(SIMULATOR) ## run the tests of templates, package, deployment and release
	$(RUN) -m pytest tests/infra

e2e: $(TESTS) $(LOCAL) $(COMMAND) ## test the deployed stack on the local AWS; DEPLOYED_BY=templates deploys it from the files of make template
	$(RUN) -m pytest tests/e2e

browser: $(TESTS) ## test the HTML report in a browser, if one is installed
	$(RUN) -m pytest tests/browser

# Versions that the file already has stay, unless its input names others; without the file, all are the newest.
COMPILE = .venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

lock: $(LOCK) ## pin the libraries in the *.in files, and their dependencies, with the hashes of every file on PyPI
	$(COMPILE) lambda_src/requirements.in -o lambda_src/requirements.txt
	$(COMPILE) lambda_src/requirements.in lambda_src/cli.in lambda_src/build.in -c lambda_src/requirements.txt -o lambda_src/cli.txt
	$(COMPILE) infra/requirements.in -c lambda_src/cli.txt -o requirements.txt
	$(COMPILE) tests/requirements.in -c lambda_src/cli.txt -c requirements.txt -o tests/requirements.txt
	$(COMPILE) lambda_src/build.in -o lambda_src/build.txt
	$(COMPILE) infra/lock.in -o infra/lock.txt

synth: $(TOOLS) ## write the templates to .build/cdk.out
	$(RUN) -m infra.deploy synth $(CDK_ARGS)

template: $(TOOLS) ## write plain CloudFormation templates and the function's zip to .build/template; needs no AWS
	$(RUN) -m infra.deploy template $(CDK_ARGS)

dist: $(TOOLS) ## write a release to .build/dist: the command, the templates, the function's zip, the policy's schema; needs no AWS
	$(RUN) -m infra.dist

deploy: $(TOOLS) ## deploy every stack to the account of the AWS environment; BOOTSTRAP=yes if the region is not bootstrapped
	$(RUN) -m infra.deploy deploy $(CDK_ARGS)

destroy: $(TOOLS) ## remove every stack except ImdsEnforcerState; use the CDK_ARGS of the deployment
	$(RUN) -m infra.deploy destroy $(CDK_ARGS)

destroy-state: $(TOOLS) ## delete toggle, policy, holds and history, after make destroy; asks, or use CONFIRM=ImdsEnforcerState
	$(RUN) -m infra.deploy destroy-state $(CDK_ARGS)

clean: ## remove everything that make made
	rm -rf .venv .build build lambda_src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip builds the CDK CLI with the verified build tools: an isolated build would download tools unverified.
$(TOOLS): requirements.txt lambda_src/build.txt
	@echo "Installing the tools into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(call pip_install,$(VENV)) --require-hashes --no-deps -r lambda_src/build.txt
	@$(call pip_install,$(VENV)) --require-hashes --no-deps --no-build-isolation -r requirements.txt
	@touch $@

$(TESTS): $(TOOLS) tests/requirements.txt
	@echo "Installing the tests' libraries ..."
	@$(call pip_install,$(VENV)) --require-hashes --no-deps -r tests/requirements.txt
	@touch $@

$(MUTMUT): $(TESTS) tests/mutants/requirements.txt
	@echo "Installing mutmut ..."
	@$(call pip_install,$(VENV)) --no-deps -r tests/mutants/requirements.txt
	@touch $@

$(LOCAL): infra/local/requirements.txt
	@echo "Installing the local AWS ..."
	@$(LOCAL_PYTHON) -m venv .venv/local
	@$(call pip_install,.venv/local) --no-deps -r infra/local/requirements.txt
	@touch $@

$(COMMAND): pyproject.toml $(SOURCES)
	@echo "Installing the command imds-enforcer ..."
	@rm -rf build # setuptools would install old files that are left in it
	@$(PYTHON) -m venv .venv/command
	@$(call pip_install,.venv/command) --require-hashes --no-deps -r lambda_src/cli.txt
	@$(call pip_install,.venv/command) --no-deps --no-build-isolation .
	@touch $@

# What the command needs, for the test that installs it from its wheel without an index.
$(WHEELS): $(TOOLS) lambda_src/cli.txt
	@echo "Fetching the command's libraries as wheels ..."
	@rm -rf $(@D)
	@$(RUN) -m pip download --quiet --disable-pip-version-check --dest $(@D) --only-binary=:all: --require-hashes --no-deps -r lambda_src/cli.txt
	@touch $@

$(LOCK): infra/lock.txt
	@echo "Installing uv ..."
	@$(PYTHON) -m venv .venv/lock
	@$(call pip_install,.venv/lock) --require-hashes --no-deps -r infra/lock.txt
	@touch $@

# Compiled, unlike the others: the benchmark measures how long a peer takes to start.
$(PEERS): tests/bench/peers/requirements.txt
	@echo "Installing the peers ..."
	@$(PYTHON) -m venv .venv/peers
	@$(call pip_install,.venv/peers) --compile --no-deps -r tests/bench/peers/requirements.txt
	@touch $@

$(PROWLER): tests/audit_peers/prowler.txt
	@echo "Installing Prowler ..."
	@$(PYTHON) -m venv .venv/prowler
	@$(call pip_install,.venv/prowler) --no-deps -r tests/audit_peers/prowler.txt
	@touch $@

# From npm, by the lock file: every file's hash is checked, and no package's script runs.
$(SIMULATOR): $(TOOLS) tests/simulator/package.json tests/simulator/package-lock.json
	@echo "Installing the IAM simulator ..."
	@mkdir -p $(@D)
	@cp tests/simulator/package.json tests/simulator/package-lock.json $(@D)
	@PATH="$(abspath $(VENV))/bin:$$PATH" npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.venv/local: $(LOCAL)
