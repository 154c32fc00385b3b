"""Measures our server against Debian with libvirt, and against its own bare kernel, on the same virtual hardware."""
