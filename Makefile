# The ways to build, run and check this tree. `make help` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

GO ?= go
export GO

# What `ollama-api-pool version` says: the nearest tag and commit, or "dev" in
# a tree without git. The explicit directory keeps an outer repository out, and
# works where the tree belongs to another user, as in many containers.
VERSION ?= $(or $(shell git --git-dir='$(CURDIR)/.git' describe --tags --always --dirty 2>/dev/null),dev)
LDFLAGS = -X ollama-api-pool/internal/cli.version=$(VERSION)

# The modules of this tree that hold code of ours; the others pin versions.
MODULES := . e2e bench
LINT := $(GO) tool -modfile='$(CURDIR)/tools/go.mod' golangci-lint
LINT_PATH := $(GO) tool -n -modfile='$(CURDIR)/tools/go.mod' golangci-lint
ESBUILD := $(GO) tool -modfile='$(CURDIR)/tools/go.mod' esbuild

# The oldest browsers that the pages are made for.
BROWSERS := chrome123,firefox125,safari17.5

# The race detector, for everything but the C library that the SQLite engine was
# translated from: its loads and stores are one thread's at a time, and to watch
# every one of them would take most of the time of the tests.
RACE := -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false
export RACE

# More flags for building what the linters read. `make check` says RACE, so
# that the tests find it built.
LINT_GOFLAGS ?=

# What may be set on the command line.
ARGS ?=
RUN ?=
FUZZTIME ?= 20s
BENCH ?= .
BENCHTIME ?= 200ms
PKG ?= ./internal/...
FAULT_REQUESTS ?= 50000
FAULT_SECONDS ?= 6
FAULT_SEED ?=

.PHONY: help
help: ## say what can be made (the default)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: build ## build and serve in the foreground; ARGS="--config x" passes options
	@exec bin/ollama-api-pool serve $(ARGS)

.PHONY: build
build: ## build bin/ollama-api-pool
	$(GO) build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ollama-api-pool ./cmd/ollama-api-pool

.PHONY: test
test: test-unit e2e ## run every test with the race detector, installing what they need

.PHONY: test-unit
test-unit: test-deps
	CGO_ENABLED=1 $(GO) test $(RACE) -timeout=10m ./...

.PHONY: test-deps
test-deps:
	@scripts/test-deps

# A module of its own, whose tests build the program: Go's test cache cannot
# see that, hence -count=1. One package after the other, because Chromium takes
# the time by which instances are to agree.
.PHONY: e2e
e2e: test-deps ## run the end-to-end tests against the built program
	CGO_ENABLED=1 $(GO) -C e2e test $(RACE) -p 1 -count=1 ./...

# Without the race detector, which `make e2e` has: for who works on a page.
.PHONY: pages
pages: test-deps ## run the tests of the web pages in Chromium; RUN=TestKeys narrows it; screenshots in .cache/screens
	$(GO) -C e2e test -count=1 -run='$(RUN)' ./browser/

.PHONY: screenshots
screenshots: test-deps ## take the pictures of the READMEs anew, into docs/screenshots
	$(GO) -C e2e test -count=1 -run='^TestReadmeScreens$$' ./browser/
	@mkdir -p docs/screenshots
	@for f in .cache/screens/readme-*.png; do cp "$$f" "docs/screenshots/$${f##*/readme-}"; done
	@ls -l docs/screenshots

# The program and the clients without the race detector, which would take most
# of the time; `make e2e` has the same tests with fewer requests.
.PHONY: faults
faults: test-deps ## break PostgreSQL, pgbouncer and Redis under 50,000 requests; FAULT_REQUESTS, FAULT_SECONDS, FAULT_SEED change that
	@mkdir -p .cache
	FAULT_REQUESTS='$(FAULT_REQUESTS)' FAULT_SECONDS='$(FAULT_SECONDS)' FAULT_SEED='$(FAULT_SEED)' FAULT_FROZEN=15 \
		FAULT_TABLE='$(CURDIR)/.cache/faults.md' $(GO) -C e2e test -count=1 -timeout=30m -run='^Test(Faults|FrozenInstance.*)$$' ./...
	@cat .cache/faults.md

.PHONY: check
check: ## all that must hold before a change is done; CI runs this
	@scripts/check $(MODULES)

.PHONY: lint
lint: lint-build lint-web ## run the linters of .golangci.yml, and look through the modules of the pages
	@linter=$$($(LINT_PATH)) && for m in $(MODULES); do \
		echo "golangci-lint run ($$m)"; \
		(cd $$m && GOFLAGS="$$($(GO) env GOFLAGS) $(LINT_GOFLAGS)" "$$linter" run ./...) || exit; \
	done

.PHONY: lint-build
lint-build:
	@$(LINT) version
	@$(ESBUILD) --version

# Nothing is built of the pages. This finds what a browser would only say when
# it gets there: faults of syntax, names that a module does not export, keys that
# stand in an object twice, styles that are not understood.
.PHONY: lint-web
lint-web:
	@check() { \
		echo "esbuild ($$1)" && found=$$($(ESBUILD) "$$@" --target=$(BROWSERS) --log-level=warning --outfile=/dev/null 2>&1) && [ -z "$$found" ] || \
			{ echo "$$found" >&2; exit 1; }; \
	} && check web/app/main.js --bundle --format=esm && check web/app/stats.js --bundle --format=esm && \
		check web/app/docs.js --bundle --format=esm && check web/app/early.js && \
		check web/style/style.css --bundle '--external:*.svg'

.PHONY: lint-fmt
lint-fmt:
	@for m in $(MODULES); do (cd $$m && $(LINT) fmt --diff) || exit; done

.PHONY: fmt
fmt: ## format the Go code
	@for m in $(MODULES); do (cd $$m && $(LINT) fmt) || exit; done

.PHONY: generate
generate: ## write the generated files anew
	$(GO) generate ./...

.PHONY: vendor-web
vendor-web: ## fetch the libraries of the pages anew; needs npm
	@scripts/vendor-web

.PHONY: release
release: ## build for every platform and pack it into dist; PLATFORMS, VERSION and DIST change that
	@scripts/release '$(VERSION)'

.PHONY: bench
bench: ## measure beside nginx and bare proxies; SCENARIOS, ROUNDS, TARGETS, KEYS narrow it
	@NEEDS='nginx nginx-light' scripts/test-deps
	@GO='$(GO)' sh bench/run.sh

.PHONY: bench-manage
bench-manage: build ## measure managing 100,000 keys; ARGS="-keys 10000" narrows it
	@mkdir -p .cache/bench
	@cd bench && $(GO) run ./cmd/manage -program ../bin/ollama-api-pool -md ../.cache/bench/manage.md $(ARGS)

.PHONY: bench-stores
bench-stores: build test-deps ## measure SQLite beside PostgreSQL and Redis; ARGS="-keys 10000 -rounds 1" narrows it
	@mkdir -p .cache/bench/bin
	@$(GO) -C bench build -o ../.cache/bench/bin/ ./cmd/run ./cmd/mockupstream ./cmd/stores
	@.cache/bench/bin/stores -program bin/ollama-api-pool -bin .cache/bench/bin -md .cache/bench/stores.md $(ARGS)

.PHONY: bench-go
bench-go: ## run the Go benchmarks; PKG, BENCH and BENCHTIME narrow them
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchtime=$(BENCHTIME) -benchmem $(PKG)

.PHONY: fuzz
fuzz: ## run every fuzz target in turn, each for FUZZTIME (20s)
	@scripts/fuzz $(FUZZTIME)
