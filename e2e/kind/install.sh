#!/bin/bash
# Installs us into the cluster of cluster.sh:
#
#     install.sh nftables|ipvs     our own manifests, in that mode; for a cluster without kube-proxy
#     install.sh image             the image changed in kubeadm's DaemonSet, and nothing else
#     install.sh kubeadm           our DaemonSet in place of kubeadm's, with its ConfigMap
#
# Needs Docker and the network, and was not run where it was written: see README.md.
# shellcheck source=e2e/kind/common.sh
source "$(dirname "$0")/common.sh"

# With the name that the control plane's certificate has, and an address that needs no Service.
own_manifests() {
    rm -rf "$work/manifests"
    cp -r "$root/manifests" "$work/manifests"
    sed -i "s|server: .*|server: https://$cluster-control-plane:6443|" "$work/manifests/base/kubeconfig.conf"
    sed -i "s|^clusterCIDR: .*|clusterCIDR: $pods|" "$work/manifests/$1/config.conf"
    grep -q "server: https://$cluster-control-plane:6443" "$work/manifests/base/kubeconfig.conf"
    grep -q "^clusterCIDR: $pods" "$work/manifests/$1/config.conf"
    kubectl apply -k "$work/manifests/$1"
    daemonset=kubeweir
}

daemonset=kube-proxy
case ${1:-} in
nftables | ipvs) own_manifests "$1" ;;
image) kubectl -n kube-system set image daemonset/kube-proxy kube-proxy="$image" ;;
kubeadm) kubectl replace -k "$root/manifests/kubeadm" ;;
*) fail "nftables, ipvs, image or kubeadm?" ;;
esac

kubectl -n kube-system rollout status "daemonset/$daemonset" --timeout=5m
kubectl wait node --all --for=condition=Ready --timeout=5m
kubectl -n kube-system wait pod --selector=k8s-app=kube-dns --for=condition=Ready --timeout=5m
