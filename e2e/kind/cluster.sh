#!/bin/bash
# Creates a kind cluster of three nodes, and loads our image into it:
#
#     cluster.sh none                        without any kube-proxy
#     cluster.sh nftables|ipvs|iptables      with kubeadm's, in that mode, to be replaced
#
# Needs Docker and the network, and was not run where it was written: see README.md. IMAGE is the image's name, CLUSTER the cluster's
# name. `make image` builds what is loaded, unless ARCHIVE is a file that has the image.
# shellcheck source=e2e/kind/common.sh
source "$(dirname "$0")/common.sh"

mode=${1:-}
case $mode in
none | nftables | ipvs | iptables) ;;
*) fail "none, nftables, ipvs or iptables?" ;;
esac

archive=${ARCHIVE:-}
if [ -z "$archive" ]; then
    # Always: what is there may be of another version, or have another name. What has not changed is not built again.
    make -C "$root" image IMAGE="$image"
    archive=$(cd "$root" && realpath "${IMAGE_DIRECTORY:-$target/image}/kubeweir.tar")
fi
# Nodes would look for the image elsewhere, and find another one or none.
case $(tar --extract --to-stdout --file "$archive" manifest.json) in
*"\"$image\""*) ;;
*) fail "$archive does not have $image" ;;
esac

cat >"$work/cluster.yaml" <<EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  ipFamily: dual
  podSubnet: $pods
  kubeProxyMode: $mode
nodes:
- role: control-plane
- role: worker
- role: worker
EOF
# Not until all is ready: without a Service proxy that will not be.
kind create cluster --name "$cluster" --config "$work/cluster.yaml" --kubeconfig "$KUBECONFIG"
kind load image-archive "$archive" --name "$cluster"
