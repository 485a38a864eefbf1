#!/bin/sh
# The first process of a guest whose root is the host's, read-only: makes the places that programs
# write to, and starts the one that the kernel's command line names (the kernel gives unknown words
# of it to this environment).
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t debugfs debug /sys/kernel/debug
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mkdir /run/tmp /run/share
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000 share /run/share
export TMPDIR=/run/tmp HOME=/run/tmp NODE_COMPILE_CACHE=/run/code PATH=/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1
"$GUEST_NODE" --no-warnings "$GUEST_PROGRAM" >/run/share/output 2>&1
echo "{\"event\":\"ended\",\"code\":$?}" >>/run/share/events
while :; do sleep 1000; done
