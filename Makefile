# Every habit of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
.DEFAULT_GOAL := help
# Beside Amazon's DynamoDB Local, which Maven fetches into build/.
WITH_DYNAMODB := $(BIN)/python tests/dynamodb/local.py --

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# What `make build` compiles with: `quick`, or `release`, as a wheel has it. Both are optimised; a release takes twice as long to link.
PROFILE ?= quick

prerequisites:
	@PYTHON=$(PYTHON) tools/prerequisites.sh $(filter dynamodb,$(COORDINATOR))

$(BIN)/maturin: requirements-dev.txt | prerequisites
	@echo "Installing the Python tools into $(VENV) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

build: $(BIN)/maturin ## build the Python module and the loadable extension into .venv
	@[ -d target/$(PROFILE) ] || echo "Compiling Seawall and some 240 crates: minutes, the first time. Later builds take seconds."
	SEAWALL_PROFILE=$(PROFILE) $(BIN)/python build_backend.py
	$(BIN)/maturin develop --profile $(PROFILE)

demo: build ## the polls app, served and voted on (ONCE=1: ends after the report; COORDINATOR=dynamodb: ordered by DynamoDB Local)
ifeq ($(COORDINATOR),dynamodb)
	$(WITH_DYNAMODB) examples/polls/on_dynamodb.sh $(if $(ONCE),--once)
else
	$(BIN)/python examples/polls/demo.py $(if $(ONCE),--once)
endif

test: build ## every test (Rust, Python, Django, DynamoDB, under fire)
	$(WITH_DYNAMODB) cargo test --locked --workspace --exclude seawall-sim
	$(WITH_DYNAMODB) cargo test --locked -p seawall-sim
	@pkg-config --exists sqlite3 || \
		echo "SKIPPED: Rust programs on the system's SQLite: pkg-config finds none (Debian and Ubuntu: libsqlite3-dev)" >&2
	if pkg-config --exists sqlite3; then \
		LIBSQLITE3_SYS_USE_PKG_CONFIG=1 cargo test --locked -p seawall-sqlite --test rusqlite; fi
	$(WITH_DYNAMODB) $(BIN)/pytest

# No suppressions: what Valgrind finds is a fault, of ours or of how we use SQLite.
VALGRIND := "valgrind", "--quiet", "--error-exitcode=9", "--leak-check=no"
memory: ## the VFS's whole life cycle under Valgrind (installs it with apt-get if it can)
	@command -v valgrind >/dev/null || { apt-get update -qq && apt-get install -qq -y valgrind; } || \
		{ echo "Valgrind is missing, and could not be installed: nothing was checked" >&2; exit 1; }
	cargo test --locked -p seawall-sqlite --test lifecycle --config 'target."cfg(unix)".runner = [$(VALGRIND)]'

# 6.1 needs CPython 3.12 or newer: one on the PATH, or one of pyenv's.
test-django: build ## Django's own test suites, of 5.2 and 6.1, beside stock SQLite (half an hour)
	$(BIN)/python tests/django/suite.py

# CPython 3.12 to 3.14 where they are: on the PATH, or by `pyenv install 3.12 3.13 3.14`. What is not there is said.
test-matrix: $(BIN)/maturin ## our tests with the wheel, on Django 5.1 to 6.1, on each CPython from 3.11 that is here
	rm -rf build/wheel
	$(BIN)/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/wheel .
	$(BIN)/python tests/django/matrix.py build/wheel/*.whl

# Other projects' own suites, on stock SQLite and on Seawall in one run (docs/compatibility.md).
OUTSIDE := mptest speedtest1 sqlalchemy apsw cpython
test-outside: build ## all the suites of others, beside stock SQLite (or one: test-mptest, -speedtest1, -sqlalchemy, -apsw, -cpython)
	PYTHONPATH=tests $(BIN)/python -m outside.run

$(OUTSIDE:%=test-%): test-%: build
	PYTHONPATH=tests $(BIN)/python -m outside.run $*

# With SEED: that one alone, with its trace. Otherwise SEEDS seeds of STEPS steps, and everything that a full run must meet was met.
sim: ## many simulated machines, every fault: 10 million steps (SEEDS=330, STEPS=30000), or one run with its trace (SEED=n)
	cargo run --locked --quiet -p seawall-sim -- --steps $(or $(STEPS),30000) $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),330) $(if $(SEEDS)$(STEPS),,--complete))

mutants: ## the engine, broken in one place at a time, in the simulator: which check catches it, after how many steps
	cargo run --locked --quiet -p seawall-sim --features mutations -- --mutants

fuzz: ## ten minutes of each fuzz target (SECONDS=60, TARGET=one; KEEP=1: new inputs stay in fuzz/corpus)
	cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	KEEP=$(KEEP) fuzz/run.sh $(or $(SECONDS),600) $(TARGET)

nfs: build ## on real NFS clients with faults, in the guest of shared/nfs-lab (root, half an hour); writes docs/benchmarks-nfs.md
	PYTHONPATH=tests $(BIN)/python -m nfs.run

bench: PROFILE := release
bench: build ## speed beside stock SQLite and django-sqlite-efs; writes docs/benchmarks.md
	$(BIN)/python bench/run.py

years: PROFILE := release
years: build ## a million commits with upkeep beside them, and 2 GiB; writes docs/benchmarks-years.md (10 GiB of disk)
	$(BIN)/python bench/years.py

aws: build ## the Lambda layer and the polls for deploy/aws, into build/aws
	rm -rf build/aws
	$(BIN)/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/aws \
		--config-settings=build-args="--compatibility manylinux_2_34" .
	$(BIN)/python deploy/aws/package.py build/aws/*.whl

# A Go module: `go run` fetches and builds it once.
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
lint: $(BIN)/maturin ## clippy, rustdoc, ruff, mypy, cfn-lint, actionlint: all clean
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p seawall-sim --features mutations -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint deploy/aws/template.yaml
	@if command -v go >/dev/null; then echo "actionlint .github/workflows/*.yml"; go run $(ACTIONLINT) .github/workflows/*.yml; \
		else echo "SKIPPED: actionlint did not look at .github/workflows: there is no Go" >&2; fi

# After a change of a *.in: chooses the versions again, and writes them with the hashes of their files.
PINNED := requirements-dev deploy/aws/requirements tests/django_sqlite_efs/requirements tests/outside/requirements-apsw \
	tests/outside/requirements-sqlalchemy
pin: $(BIN)/maturin ## versions and hashes of the Python packages, from the *.in files
	for file in $(PINNED); do $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file $$file.txt $$file.in || exit; done

samples: build ## the samples in docs/command-line.md, from the commands themselves
	cd tests && ../$(BIN)/python -m command_line.samples

doc: ## the Rust documentation, in target/doc
	cargo doc --locked --workspace --no-deps

clean: ## remove what was built
	cargo clean
	cargo clean --manifest-path fuzz/Cargo.toml
	rm -rf $(VENV) build python/seawall/*.so examples/polls/db.sqlite3 examples/polls/db.sqlite3-seawall

.PHONY: help prerequisites build demo test memory test-django test-matrix test-outside $(OUTSIDE:%=test-%) sim mutants fuzz nfs bench years aws lint pin samples doc clean
