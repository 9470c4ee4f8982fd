#!/bin/busybox sh
# The first process of a guest: makes the machine's files the guest's own, runs the command of /command and tells its exit code.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b echo 4 >/proc/sys/kernel/printk
for module in $($b cat /modules/order); do $b insmod "/modules/$module" || $b echo "guest: $module was not loaded"; done
# The machine's files can be read, and what is written stays in the guest's memory.
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose machine /machine
$b mount -t tmpfs tmpfs /written
$b mkdir /written/upper /written/work
$b mount -t overlay -o lowerdir=/machine,upperdir=/written/upper,workdir=/written/work overlay /root
$b mount -t proc proc /root/proc
$b mount -t sysfs sys /root/sys
$b mount --move /dev /root/dev
$b mkdir -p /root/dev/shm
$b ln -s /proc/self/fd /root/dev/fd
$b mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
$b mount -t tracefs tracefs /root/sys/kernel/tracing
for folder in /tmp /run; do $b mount -t tmpfs tmpfs "/root$folder"; done
$b ip link set lo up
for link in $($b ls /sys/class/net); do
  case $link in lo) ;; *) $b ip link set "$link" up && $b ip address add 10.0.2.15/24 dev "$link" && $b ip route add default via 10.0.2.2 ;; esac
done
$b cp /command /root/run/command
$b chroot /root /bin/sh /run/command
$b echo "guest: exit code $?"
$b poweroff -f
