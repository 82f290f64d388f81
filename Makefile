# Everything that is done with Tidegate by hand. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run build test fuzz test-interop test-cluster soak bench lint clean

CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/tidegate
# One target folder for all clones: BoringSSL alone takes minutes to build.
export CARGO_TARGET_DIR ?= $(CACHE)/target
TOOLS := $(CACHE)/tools
export PATH := $(TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## check what building needs, and install it where that is allowed
	@.ci/setup

# The dev profile, which `make test` builds too: optimized dependencies, and the planes
# within seconds of an edit. A release build links with LTO for many minutes.
run: setup ## build and start the demo gateway; ARGS="--state DIR" and the like are passed on
	cargo run --locked --package tidegate --bin tidegate -- up $(ARGS)

build: setup ## build the binaries as they are shipped; ARGS=--portable for any x86-64
	deploy/release/build $(ARGS)
	@echo "built: $(CARGO_TARGET_DIR)/release/{tidegate,tidegate-controlplane,tidegate-dataplane}"

test: setup ## run every test that needs nothing but Rust
	@.ci/test

fuzz: setup ## run each fuzz target with libFuzzer; FUZZ_SECONDS=60 and FUZZ_TARGETS="demux http3" say how
	@.ci/fuzz

test-interop: setup ## run the interop cases with clients in Rust, Go and Python, those that are there
	@.ci/test-interop

test-cluster: setup ## run what needs a Kubernetes: KUBECONFIG and TIDEGATE_IMAGE say which
	@.ci/test-cluster

# MINUTES says how long; `make test` has a short version of it.
soak: setup ## let clients come, go, rebind, stall and lie for MINUTES=20 at half of capacity
	TIDEGATE_SOAK_MINUTES=$(or $(MINUTES),20) cargo test --locked --package tidegate-tests --test soak -- --nocapture

bench: setup ## measure beside Envoy, Caddy, Traefik and tokio-quiche; ARGS="--only h3" and the like are passed on
	@tests/bench/run $(ARGS)

lint: setup ## check format, clippy, dependencies and charts
	@TOOLS="$(TOOLS)" .ci/lint

clean: ## delete what was built, for all clones
	cargo clean
