"""A tiny Linux guest for QEMU: Debian's cloud kernel and an initramfs of busybox and a few tools."""
