#!/bin/bash
# Looks at what we have programmed on each node, with programs that are not ours:
#
#     check.sh nftables|ipvs
#
# Needs Docker and the network, and was not run where it was written: see README.md. Nodes get `nft` and `ipvsadm` from Debian where
# their image has none.
# shellcheck source=e2e/kind/common.sh
source "$(dirname "$0")/common.sh"

mode=${1:-}
# The Service `kubernetes` exists in every cluster, and /livez may be asked for by anyone.
address=$(kubectl get service kubernetes --output 'jsonpath={.spec.clusterIP}')

on() {
    docker exec "$node" "$@"
}

has() {
    case $2 in
    *"$3"*) ;;
    *) fail "$node: $1 does not show $3:
$2" ;;
    esac
}

has_not() {
    case $2 in
    *"$3"*) fail "$node: $1 shows $3:
$2" ;;
    esac
}

need() {
    on sh -c "command -v $1 >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $2; }"
}

check_nftables() {
    tables=$(on nft list tables)
    has 'nft list tables' "$tables" 'table ip kubeweir'
    has 'nft list tables' "$tables" 'table ip6 kubeweir'
    has_not 'nft list tables' "$tables" 'kubeweir-ipvs'
    has 'nft list set ip kubeweir cluster-ips' "$(on nft list set ip kubeweir cluster-ips)" "$address"
}

check_ipvs() {
    has 'nft list tables' "$(on nft list tables)" 'table ip kubeweir-ipvs'
    servers=$(on ipvsadm -ln)
    has 'ipvsadm -ln' "$servers" "TCP  $address:443"
    has 'ipvsadm -ln' "$servers" '  -> '
    has 'ip address show kube-ipvs0' "$(on ip address show kube-ipvs0)" "$address/32"
}

case $mode in
nftables | ipvs) ;;
*) fail "nftables or ipvs?" ;;
esac

for node in $(nodes); do
    need nft nftables
    need ipvsadm ipvsadm
    on nft list ruleset
    on ipvsadm -ln || true
    "check_$mode"
    has_not 'nft list tables' "$(on nft list tables)" 'kube-proxy'
    has '/proxyMode' "$(on curl --silent --fail http://127.0.0.1:10249/proxyMode)" "$mode"
    on curl --silent --fail --insecure "https://$address/livez" >/dev/null || fail "$node does not reach $address"
    say "$node: as it should be"
done
