# Every target does its own set-up on a Debian 12 machine with a Rust toolchain and root.

SHELL := /bin/bash
PACKAGES := gcc libc6-dev nftables iproute2
# What other kernels need, in an emulator: the emulator, its first programs, and what unpacks a Debian kernel.
GUEST_PACKAGES := qemu-system-x86 busybox-static kmod xz-utils zstd
# What tests need besides: witnesses, never part of the product.
TEST_PACKAGES := conntrack crun ipset iptables ipvsadm prometheus shellcheck strace $(GUEST_PACKAGES)
# What builds the image, without a daemon and without pulling one: a C compiler for the static target, and what packs.
IMAGE_PACKAGES := buildah musl-tools
CARGO := cargo
DENY_VERSION := 0.20.2

.PHONY: demo test bench lint advisories fmt fuzz vm guest-kernels image setup setup-demo-ipvs setup-guest setup-image setup-test

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

# The container image, as $(IMAGE_DIRECTORY)/kubeweir.tar, which docker, podman, ctr and kind load. All of the builder's storage is below
# that directory too: nothing of this machine's own images is touched.
VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)
REVISION := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# For `/version`: the commit's date, so that the same sources make the same binary.
BUILD_DATE := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
TARGET := $(or $(CARGO_TARGET_DIR),target)
STATIC := $(shell uname -m)-unknown-linux-musl
IMAGE ?= ghcr.io/kubeweir/kubeweir:v$(VERSION)
IMAGE_PROFILE ?= release
IMAGE_DIRECTORY ?= $(TARGET)/image
BUILDAH := buildah --root $(IMAGE_DIRECTORY)/storage --runroot $(IMAGE_DIRECTORY)/run --storage-driver vfs
image: setup-image
	KUBEWEIR_GIT_COMMIT=$(REVISION:unknown=) KUBEWEIR_BUILD_DATE=$(BUILD_DATE) \
		$(CARGO) build --profile $(IMAGE_PROFILE) --locked --workspace --bin kubeweir --target $(STATIC)
	install -D --mode 755 $(TARGET)/$(STATIC)/$(IMAGE_PROFILE:dev=debug)/kubeweir $(IMAGE_DIRECTORY)/binary/kubeweir
	$(BUILDAH) build --isolation chroot --timestamp 0 --identity-label=false --build-context binary=$(IMAGE_DIRECTORY)/binary \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --tag $(IMAGE) .
	rm -f $(IMAGE_DIRECTORY)/kubeweir.tar
	$(BUILDAH) push $(IMAGE) docker-archive:$(IMAGE_DIRECTORY)/kubeweir.tar:$(IMAGE)
	$(BUILDAH) rmi --prune

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

# Where the toolchain is not rustup's, it must have the static target already.
setup-image: setup
	$(call install,$(IMAGE_PACKAGES))
	@! command -v rustup >/dev/null || rustup target list --installed | grep -qx $(STATIC) || rustup target add $(STATIC)

# `kubectl` is a witness in tests; Debian's package has it where nothing newer is installed.
setup-test: setup guest-kernels setup-image
	$(call install,$(TEST_PACKAGES))
	@command -v kubectl >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends kubernetes-client; }
