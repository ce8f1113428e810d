# Two commands matter: `make demo` and `make test`. Both set up whatever they need.
# YES=1 goes on without asking before Debian packages are installed.
# The system's Python comes first, if it can make environments: distributions build it with profile-guided optimisation,
# which makes a node a tenth faster than most others on PATH do. `make PYTHON=python3 …` takes the one on PATH.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip' 2>/dev/null && echo /usr/bin/python3 || echo python3)
SETUP := $(PYTHON) -m tools.setup
BIN := .venv/bin
TEST_SECONDS := 1800
# These tests mostly wait, for blocks and containers. The others compute, and leave them the processor when they want it.
ON_MACHINE := tests/devnet tests/e2e tests/sandbox
CODE_LOG := build/tests-of-code.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench images proto lock up down status clean tests-alone tests-of-code tests-on-machine

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-8s %s\n", $$1, $$2 }'

demo: ## set up, then run a chain of four validators with three real jobs (about five minutes)
	@$(SETUP) run -- $(BIN)/lc demo

test: ## set up, then all checks and all tests (at most 30 minutes)
	@$(SETUP) run --tests --limit $(TEST_SECONDS) -- $(MAKE) --no-print-directory check tests-alone

check: ## style, types, import directions, spelling, generated code (needs the environment of `make test`)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/python tools/gen_proto.py --check
	$(BIN)/python -m tools.gen_chain_config --check

tests-alone:
	@$(MAKE) --no-print-directory -j2 tests-of-code tests-on-machine

tests-of-code:
	@mkdir -p $(dir $(CODE_LOG)); echo "the tests of the code run beside those on the machine; see $(CODE_LOG)"
	@nice $(BIN)/pytest $(ON_MACHINE:%=--ignore=%) >$(CODE_LOG) 2>&1; \
	code=$$?; echo; cat $(CODE_LOG); exit $$code

tests-on-machine:
	@$(BIN)/pytest $(ON_MACHINE)

format: ## bring the code into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: ## measure transactions per second, block times and memory into build/bench.json
	@$(SETUP) run --no-containers -- $(BIN)/python -m tools.bench

images: ## build the container images learningchain/node and learningchain/worker
	@$(SETUP) run -- $(BIN)/python -m tools.node_images

proto: ## generate abci_app/pb from proto/, and chain-config/ from the code
	$(BIN)/python tools/gen_proto.py
	$(BIN)/python -m tools.gen_chain_config

lock: ## lock the dependencies of pyproject.toml anew (needs uv)
	uv lock
	uv export --quiet --frozen --no-emit-project --no-dev --output-file requirements.txt
	uv export --quiet --frozen --no-emit-project --all-groups --output-file requirements-dev.txt

up: ## set up and leave engine and registry running; then `. .state/env`
	@$(SETUP) up

down: ## stop what `make up` left running
	@$(SETUP) down

status: ## say which services run
	@$(SETUP) status

clean: ## stop everything and delete what was downloaded, built or kept
	@$(SETUP) clean
