"""Proofs that take too long for `make test`."""
