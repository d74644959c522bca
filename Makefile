# Every target does its own set-up on a Debian 12 machine with a Rust toolchain and root.

SHELL := /bin/bash
PACKAGES := gcc libc6-dev nftables iproute2
# What other kernels need, in an emulator: the emulator, its first programs, and what unpacks a Debian kernel.
GUEST_PACKAGES := qemu-system-x86 busybox-static kmod xz-utils zstd
# What tests need besides: witnesses, never part of the product.
TEST_PACKAGES := conntrack ipvsadm prometheus strace $(GUEST_PACKAGES)
CARGO := cargo
DENY_VERSION := 0.20.2

.PHONY: demo test bench lint advisories fmt fuzz vm guest-kernels setup setup-demo-ipvs setup-guest setup-test

# MODE=ipvs shows IPVS mode: on this kernel if it has IPVS, or else under another one in an emulator.
MODE ?= nftables
WITNESS_nftables := nft
WITNESS_ipvs := ipvsadm
demo: setup $(if $(filter ipvs,$(MODE)),setup-demo-ipvs)
	$(CARGO) build --release
	target/release/kubeweir demo --proxy-mode $(MODE) --witness $(WITNESS_$(MODE))

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

# A shell with the host's files under another kernel: KERNEL is a name of e2e/guest/kernels.txt. Ctrl-A X ends it.
KERNEL ?= 6.1
vm: setup-guest
	e2e/guest/kernels.sh $(GUEST_KERNELS) $(KERNEL)
	$(CARGO) build --locked
	$(CARGO) run --quiet --locked -p kubeweir-e2e --bin kubeweir-vm -- $(KERNEL)

# Downloads Debian's kernels for guests and installs nothing. KERNELS="newest" fetches that one instead of those of every run.
GUEST_KERNELS := $(or $(CARGO_TARGET_DIR),target)/guest
guest-kernels: setup-guest
	e2e/guest/kernels.sh $(GUEST_KERNELS) $(KERNELS)

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

setup-demo-ipvs: setup-guest
	$(call install,ipvsadm)
	[ -d /sys/module/ip_vs ] || e2e/guest/kernels.sh $(GUEST_KERNELS) $(KERNEL)

setup-guest:
	$(call install,$(GUEST_PACKAGES))

# `kubectl` is a witness in tests; Debian's package has it where nothing newer is installed.
setup-test: setup guest-kernels
	$(call install,$(TEST_PACKAGES))
	@command -v kubectl >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends kubernetes-client; }
