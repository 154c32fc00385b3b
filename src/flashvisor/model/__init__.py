"""Pure types: site, guest, record."""
