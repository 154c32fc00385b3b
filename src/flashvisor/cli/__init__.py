"""The command line on the administrator's machine: one file per noun."""
