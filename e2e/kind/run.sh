#!/bin/bash
# Everything, one cluster after the other, each deleted when it has passed:
#
#     run.sh                  all ways
#     run.sh ipvs-image       one of them, or several
#
# Needs Docker and the network, and was not run where it was written: see README.md.
set -euo pipefail
here=$(readlink -f "$(dirname "$0")")

# What kubeadm's kube-proxy runs as; how we are installed; what must be there then.
ways=(
    'nftables none nftables nftables'
    'ipvs none ipvs ipvs'
    'nftables-image nftables image nftables'
    'iptables-image iptables image nftables'
    'ipvs-image ipvs image ipvs'
    'nftables-kubeadm nftables kubeadm nftables'
)

for wanted in "$@"; do
    printf '%s\n' "${ways[@]%% *}" | grep --line-regexp --fixed-strings --regexp="$wanted" >/dev/null || {
        printf '%s: no way is named "%s", but: %s\n' "$0" "$wanted" "${ways[*]%% *}" >&2
        exit 1
    }
done

for way in "${ways[@]}"; do
    read -r name before how mode <<<"$way"
    [ $# = 0 ] || [[ " $* " = *" $name "* ]] || continue
    export CLUSTER=kubeweir-$name
    "$here/cluster.sh" "$before"
    "$here/install.sh" "$how"
    "$here/check.sh" "$mode"
    "$here/conformance.sh"
    "$here/check.sh" "$mode"
    kind delete cluster --name "$CLUSTER"
done
