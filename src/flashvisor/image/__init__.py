"""The build: from Debian's packages to one signed file."""
