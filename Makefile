# vnet. `make help` says what there is.
#
# Each step leaves a stamp in .venv and is done again only when what it depends on has changed: `make`
# with nothing to do takes no time, and needs no network.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all
VENV := .venv
# Not another virtual environment that happens to be active.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# rustup puts cargo here, and not every shell has it in its PATH.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):$(HOME)/.cargo/bin

BIN := $(VENV)/bin
# The whole crate graph optimised as one. `make PROFILE=fast` rebuilds in seconds instead.
PROFILE := release
RUST := $(shell find switch nics vnet -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.PHONY: all demo test test-rust test-python check check-python check-rust needs cargo bench clean help

all: $(VENV)/.built  ## build vnet into .venv: .venv/bin/vnet

demo: all  ## build it, then show it: two tenants, no root
	$(BIN)/vnet demo

test: needs all check test-rust test-python  ## install what the tests need (Debian, as root), then run all

check: check-python check-rust  ## formatting, lints and types, without running anything

bench: all  ## measure it
	$(BIN)/vnet bench

# -- what is built ---------------------------------------------------------------------------------

# The newest Python that is there. Debian's python3 lacks venv until python3-venv is installed.
$(VENV)/.made:
	@python=; for try in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$try -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$try; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "vnet needs Python 3.11 or newer, and found none."; exit 1; fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "vnet needs Python's venv: sudo apt-get install python3-venv"; exit 1; fi; \
	$$python -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip 'maturin>=1.9,<2'
	@touch $@

$(VENV)/.built: $(VENV)/.made $(RUST) pyproject.toml | cargo
	$(BIN)/maturin develop --skip-install --profile $(PROFILE)
	@# Once: .venv/bin/vnet, the packages it needs, and a link to this folder.
	@if [ ! $(VENV)/.installed -nt pyproject.toml ]; then \
	    $(BIN)/pip install --quiet --no-build-isolation --editable '.[scapy]' \
	        --config-settings=build-args='--profile $(PROFILE)'; \
	    touch $(VENV)/.installed; \
	fi
	@touch $@

# Everything of the group `dev` in pyproject.toml: what tests and checks run with.
$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(BIN)/pip install --quiet --group dev
	@touch $@

cargo:
	@wanted=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	found=$$(cargo --version 2>/dev/null | cut -d' ' -f2 || true); \
	if [ -z "$$found" ]; then \
	    echo "vnet needs Rust $$wanted or newer, and found no cargo: see https://rustup.rs"; exit 1; fi; \
	if [ "$$(printf '%s\n' "$$wanted" "$$found" | sort -V | head -n 1)" != "$$wanted" ]; then \
	    echo "vnet needs Rust $$wanted or newer, and found $$found: rustup update"; exit 1; fi

# -- what is checked -------------------------------------------------------------------------------

needs: $(VENV)/.made
	$(BIN)/python -m tests.prerequisites --install

test-rust: | cargo
	cargo test --quiet --workspace

# What belongs to the whole machine (interfaces, namespaces, virtual machines) runs apart, in namespaces of its own.
APART := tests/kernel tests/qemu
test-python: all $(VENV)/.dev
	$(BIN)/pytest $(foreach folder,$(APART),--ignore=$(folder)) --numprocesses=auto --dist=worksteal
	$(BIN)/python -m tests.apart $(APART)

check-python: all $(VENV)/.dev
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	$(BIN)/stubtest --ignore-disjoint-bases vnet._native

check-rust: | cargo
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets --features vnet-fabric/python -- -D warnings

# -- the rest --------------------------------------------------------------------------------------

clean:  ## remove everything that was built
	rm -rf $(VENV) target build dist vnet/_native*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

help:  ## this
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14
