# Every target does its own set-up on a Debian 12 machine with a Rust toolchain and root.

SHELL := /bin/bash
PACKAGES := gcc libc6-dev nftables iproute2
# What tests need besides: witnesses, never part of the product.
TEST_PACKAGES := conntrack
CARGO := cargo
DENY_VERSION := 0.20.2

.PHONY: demo test bench lint advisories fmt fuzz setup setup-test

demo: setup
	$(CARGO) build --release
	target/release/kubeweir demo --witness nft

test: setup-test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) build --workspace --locked
	$(CARGO) test --workspace --locked

# BENCH_SIZES="1000 10000" measures those sizes only.
bench: setup
	$(CARGO) build --release --locked -p kubeweir -p kubeweir-e2e
	target/release/kubeweir-bench $(BENCH_SIZES)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny@$(DENY_VERSION)
	$(CARGO) deny check bans licenses sources

# Known vulnerabilities: needs the network, and says other things on other days.
advisories:
	$(CARGO) deny check advisories

fmt:
	$(CARGO) fmt --all

# FUZZ_TARGET is one of fuzz/fuzz_targets, FUZZ_SECONDS how long. libFuzzer needs unstable flags of the stable compiler.
FUZZ_TARGET ?= manifests
FUZZ_SECONDS ?= 60
fuzz: setup
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $(FUZZ_TARGET) -- -max_total_time=$(FUZZ_SECONDS)

define install
	@missing=""; for package in $(1); do \
		dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
endef

setup:
	$(call install,$(PACKAGES))

# `kubectl` is a witness in tests; Debian's package has it where nothing newer is installed.
setup-test: setup
	$(call install,$(TEST_PACKAGES))
	@command -v kubectl >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends kubernetes-client; }
