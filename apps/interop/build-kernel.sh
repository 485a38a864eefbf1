#!/bin/sh
# Builds the kernel that the guests of the tests run, from a source tree of Linux 6.19 or newer:
#   apps/interop/build-kernel.sh SOURCE OUT
# and then LIVEUPDATE_KERNEL=OUT/arch/x86/boot/bzImage npm run -s test:linux
# Takes gcc, make, flex, bison, bc, libelf-dev, and ten minutes on two cores.
set -eu
[ $# -eq 2 ] || { echo "build-kernel.sh SOURCE OUT: a source tree of Linux, and a folder for the build" >&2; exit 2; }
source=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
fragment=$(realpath "$(dirname "$0")")/kernel.config
make -C "$source" O="$out" tinyconfig
"$source/scripts/kconfig/merge_config.sh" -m -O "$out" "$out/.config" "$fragment"
make -C "$source" O="$out" olddefconfig
grep -q '^CONFIG_LIVEUPDATE_MEMFD=y' "$out/.config" || echo "build-kernel.sh: this source cannot preserve memfds" >&2
make -C "$source" O="$out" -j"$(nproc)" bzImage
ls -l "$out/arch/x86/boot/bzImage"
