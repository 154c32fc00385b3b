"""What runs in the rig of sim/libvirtrig.py, with the image's Python."""
