# Every target brings what it needs by itself: `make help` lists them.

CARGO ?= cargo
.DEFAULT_GOAL := help
.PHONY: help setup setup-bench setup-demo demo test bench micro latency conformance fuzz fmt

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Check for the tools that building and testing need, and install those that are missing
	@scripts/setup.sh

setup-bench:
	@scripts/setup.sh bench

setup-demo:
	@scripts/setup.sh demo

demo: setup-demo ## Start an origin with real media, the node in front of it and a page that plays it (Ctrl-C ends it)
	@exec $(CARGO) run --release -- demo

test: setup ## Formatting, lints, unit, integration and browser tests: what has to pass before a merge
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --workspace --locked

# Micro-benchmarks come first: cargo leaves a node beside them that has the features of the tests.
bench: setup-bench ## Measure the node beside nginx, Varnish and Traffic Server on this machine, and what the parts of a request cost
	@scripts/micro.sh
	$(CARGO) build --release --workspace --locked
	@target/release/forebay-loadtest compare quick --forebay target/release/forebay
	@target/release/forebay-loadtest bench quick --forebay target/release/forebay
	@exec target/release/forebay token bench

micro: setup-bench ## Measure what the node does for a request, part by part: times and, where valgrind is there, instructions
	@exec scripts/micro.sh long

latency: setup ## Play a Low-Latency stream in Chromium for 60 s, through the node and straight from its origin, and compare
	$(CARGO) test --locked --test latency -- --ignored --nocapture

conformance: setup ## Run the public suite of tests for HTTP caches against the node, and count what it meets
	$(CARGO) build --release -p forebay --locked
	@scripts/conformance.sh target/release/forebay

fuzz: setup ## Feed the parsers of outside input what a fuzzer makes up, a minute for each (scripts/fuzz.sh tells more)
	@scripts/fuzz.sh

fmt: ## Format the sources
	$(CARGO) fmt --all
