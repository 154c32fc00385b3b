"""The only side effects: processes, files, clock, block devices; one module per external tool."""
