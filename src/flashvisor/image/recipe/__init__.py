"""What goes into the image, as data: kernel options, QEMU devices, the root's files by component."""
