#!/bin/bash
# Installs us into the cluster of cluster.sh:
#
#     install.sh nftables|ipvs     our own manifests, in that mode; for a cluster without kube-proxy
#     install.sh image             the image changed in kubeadm's DaemonSet, and nothing else
#     install.sh kubeadm           our DaemonSet in place of kubeadm's, with its ConfigMap
#
# Needs Docker and the network, and was not run where it was written: see README.md. IMAGE is the image's name, with its tag.
# shellcheck source=e2e/kind/common.sh
source "$(dirname "$0")/common.sh"

# A copy, to be changed.
copied() {
    rm -rf "$work/manifests"
    cp -r "$root/manifests" "$work/manifests"
}

# Objects of the copy, with the image by its name here.
objects() {
    mkdir "$work/manifests/kind"
    cat >"$work/manifests/kind/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- ../$1
images:
- name: ghcr.io/kubeweir/kubeweir
  newName: ${image%:*}
  newTag: "${image##*:}"
EOF
    kubectl kustomize "$work/manifests/kind" >"$work/objects.yaml"
    # Nobody says so where no image has that name.
    images=$(sed -n 's/^[ -]*image: //p' "$work/objects.yaml" | sort --unique)
    [ "$images" = "$image" ] || fail "not $image alone: $images"
}

# With the name that the control plane's certificate has, and an address that needs no Service.
own_manifests() {
    copied
    sed -i "s|server: .*|server: https://$cluster-control-plane:6443|" "$work/manifests/base/kubeconfig.conf"
    sed -i "s|^clusterCIDR: .*|clusterCIDR: $pods|" "$work/manifests/$1/config.conf"
    grep -q "server: https://$cluster-control-plane:6443" "$work/manifests/base/kubeconfig.conf"
    grep -q "^clusterCIDR: $pods" "$work/manifests/$1/config.conf"
    objects "$1"
    kubectl apply -f "$work/objects.yaml"
    daemonset=kubeweir
}

in_place_of_kubeadms() {
    copied
    objects kubeadm
    kubectl replace -f "$work/objects.yaml"
}

case ${image##*/} in
*:*) ;;
*) fail "without a tag: $image" ;;
esac
daemonset=kube-proxy
case ${1:-} in
nftables | ipvs) own_manifests "$1" ;;
image) kubectl -n kube-system set image daemonset/kube-proxy kube-proxy="$image" ;;
kubeadm) in_place_of_kubeadms ;;
*) fail "nftables, ipvs, image or kubeadm?" ;;
esac

kubectl -n kube-system rollout status "daemonset/$daemonset" --timeout=5m
kubectl wait node --all --for=condition=Ready --timeout=5m
kubectl -n kube-system wait pod --selector=k8s-app=kube-dns --for=condition=Ready --timeout=5m
