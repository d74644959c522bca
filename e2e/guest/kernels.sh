#!/bin/bash
# Fetches the kernels of kernels.txt from Debian, unpacks them below a directory and installs nothing:
#
#     kernels.sh target/guest            what every test run needs
#     kernels.sh target/guest newest     one of them
#
# DIRECTORY/6.1 then holds `vmlinux`, `lib/modules/RELEASE` and, written last, `release`. What has that file is not looked at
# again; remove the directory for a newer package. apt gets lists, cache and sources of its own, with the machine's mirror.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
target=$(readlink -f "$1")
shift

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# The plain flavour: the one for clouds has no 9p, by which the guest sees the host's files.
package=linux-image-amd64
# What a guest is made of; the rest, graphics and file systems of old, is 300 MB.
wanted=(lib crypto arch net fs/9p fs/netfs fs/fscache fs/overlayfs fs/fuse drivers/virtio drivers/char drivers/net/vxlan
    drivers/net/dummy.ko drivers/net/veth.ko drivers/net/tun.ko)

private_apt() {
    apt=(-qq -o "Dir::Etc::SourceList=$work/debian.sources" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o APT::Sandbox::User=root -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none)
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    # shellcheck disable=SC2016 # apt fills that in
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "${mirror:-http://deb.debian.org/debian/}" "$1" "$keyring" >"$work/debian.sources"
    apt-get "${apt[@]}" update
}

# The package behind the one that only names the newest, and those that it is split into since Linux 7.
packages() {
    local image
    image=$(needs $package 'linux-image-[0-9]')
    echo "$image"
    needs "$image" 'linux-base-[0-9]\|linux-binary-\|linux-modules-' || true
}

# What a package depends on, as far as it begins like this.
needs() {
    apt-cache "${apt[@]}" show --no-all-versions "$1" | sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's/^ *//; s/ .*//' |
        grep "^\($2\)"
}

# The compressed kernel inside of a bzImage, by the boot protocol's header: sectors of set-up code, then offset and length.
# A kernel that is unpacked here need not unpack itself in an emulator.
unpack_kernel() {
    number() { od -A n -t "u$2" -j "$1" -N "$2" "$work/bzImage" | tr -d ' '; }
    local start=$((($(number 497 1) + 1) * 512 + $(number 584 4))) length=$(($(number 588 4) - 4))
    dd if="$work/bzImage" of="$work/payload" iflag=skip_bytes,count_bytes skip="$start" count="$length" bs=1M status=none
    case $(od -A n -t x1 -N 4 "$work/payload" | tr -d ' ') in
        fd377a58) xz --decompress --stdout "$work/payload" ;;
        28b52ffd) zstd --decompress --stdout --quiet "$work/payload" ;;
        *) echo "$release: this compression is not known here" >&2 && return 1 ;;
    esac
}

fetch() {
    local name=$1 suite=$2 work modules names deb
    [ -e "$target/$name/release" ] && return
    echo "fetching the kernel of Debian $suite for guests" >&2
    work=$(mktemp -d "$target/.fetch.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    private_apt "$suite"
    mapfile -t names < <(packages)
    (cd "$work" && apt-get "${apt[@]}" download "${names[@]}")
    mkdir "$work/all" "$work/$name"
    for deb in "$work"/linux-*.deb; do
        dpkg-deb --extract "$deb" "$work/all"
    done
    modules=$(echo "$work"/all/lib/modules/* "$work"/all/usr/lib/modules/* | tr ' ' '\n' | grep -v '\*' | head -n 1)
    release=$(basename "$modules")
    # In /boot, and since Linux 7 beside the modules.
    find "$work/all/boot/vmlinuz-$release" "$modules/vmlinuz" -type f -exec cp {} "$work/bzImage" \; 2>/dev/null || true
    unpack_kernel >"$work/$name/vmlinux"
    keep_modules "$modules" "$work/$name/lib/modules/$release"
    depmod --basedir "$work/$name" "$release"
    echo "$release" >"$work/$name/release"
    rm -rf "${target:?}/$name"
    mv "$work/$name" "$target/$name"
    rm -rf "$work"
}

keep_modules() {
    local from=$1 to=$2
    mkdir -p "$to/kernel"
    # Lists of what is built in; without them depmod makes do with what it sees.
    find "$from" -maxdepth 1 -name 'modules.*' -exec cp {} "$to/" \;
    for part in "${wanted[@]}"; do
        (cd "$from/kernel" && find "$part"* -name '*.ko*' -exec cp --parents {} "$to/kernel" \; 2>/dev/null) || true
    done
    find "$to/kernel" -name '*.ko.xz' -exec xz --decompress {} +
}

while read -r name suite when; do
    case $name in '' | '#'*) continue ;; esac
    if [ $# -eq 0 ] && [ "$when" = always ] || [[ " $* " == *" $name "* ]]; then
        fetch "$name" "$suite"
    fi
done <"$here/kernels.txt"
