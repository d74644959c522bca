#!/busybox sh
# shellcheck shell=dash # as near as it knows
# First program of the guest: the host's files over 9p, read-only, under a layer of memory that takes what is written.
# Modules and their order are in /modules; ROOT_CACHE comes from the kernel's command line.
b=/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do
    $b insmod "/modules/$module" || echo "guest: cannot load $module"
done
$b mount -t 9p -o "ro,trans=virtio,version=9p2000.L,msize=512000,cache=$ROOT_CACHE" host /host || echo "guest: no host"
$b mount -t tmpfs memory /layer
$b mkdir /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root
$b mount --move /proc /root/proc
$b mount --move /dev /root/dev
$b mount -t sysfs sys /root/sys
$b mount -t tmpfs run /root/run
$b cp /administrator.sh /root/run/
# The kernel looks for modprobe where its first program is: this must not be a child.
exec $b chroot /root /bin/sh /run/administrator.sh
