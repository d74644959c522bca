# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for the scripts that read this
# What all scripts here share. Needs Docker and the network, and was not run where this was written: see README.md.

set -euo pipefail

root=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
cluster=${CLUSTER:-kubeweir}
image=${IMAGE:-ghcr.io/kubeweir/kubeweir:v$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)}
# The prefixes of pods; those of Services are kind's own.
pods=10.244.0.0/16,fd00:10:244::/56
# As the Makefile has it, which is run in that directory.
target=$(cd "$root" && realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
work=$target/kind/$cluster
mkdir -p "$work"
# Whatever clusters else are configured for this user stay out of it.
export KUBECONFIG=$work/kubeconfig

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$0: $*"
    exit 1
}

nodes() {
    kind get nodes --name "$cluster"
}
