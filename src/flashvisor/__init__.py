"""flashvisor: a hypervisor in flash, one signed file under 32 MB, run from RAM."""

__version__ = "0.1.0"
