"""From a site's guest to a libvirt domain, and the drivers that run it."""
