# shellcheck shell=sh
# What an administrator does before kubeweir comes: loads modules, and then, one after another, what the host asks for.
# HOST_MODULES and SHELL_ON come from the kernel's command line.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
release=$(uname -r)
mkdir -p "/lib/modules/$release" /dev/pts /dev/shm
mount --bind "$HOST_MODULES" "/lib/modules/$release"
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
hostname guest
ip link set lo up
# A kernel that looks for the parts of nf_tables itself starts modprobe for each, several times over, each taking part of a second.
modprobe -a ip_vs ip_vs_rr dummy veth bridge br_netfilter vxlan nf_conntrack nf_conntrack_netlink nf_tables nft_chain_nat nft_ct \
    nft_fib_inet nft_masq nft_nat nft_numgen nft_reject_inet nft_reject_ipv4 nft_reject_ipv6 nft_log nft_limit nft_hash

finish() {
    echo o >/proc/sysrq-trigger
    while :; do read -r _ </dev/console; done
}

if [ -n "$SHELL_ON" ]; then
    # shellcheck disable=SC2153 # from the kernel's command line too
    cd "$SHELL_IN" || finish
    setsid --ctty --wait /bin/bash -i <"/dev/$SHELL_ON" >"/dev/$SHELL_ON" 2>&1
    finish
fi

# A request is a line with a number of bytes, then a script of so many. An answer is what it prints, then a line with its status.
exec 3<>"/dev/$(ls /sys/class/virtio-ports)"
printf '\036ready\n' >&3
while read -r length <&3; do
    head -c "$length" <&3 >/run/request
    /bin/sh /run/request </dev/null >&3 2>&1 3>&-
    printf '\n\036status %d\n' $? >&3
done
finish
