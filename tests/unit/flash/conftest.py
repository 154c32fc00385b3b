"""Shared by the flash tests."""

from __future__ import annotations

import hashlib

import pytest


@pytest.fixture(scope="session")
def incompressible() -> bytes:
    """256 KiB that zlib cannot make smaller."""
    return b"".join(hashlib.sha256(b"%d" % index).digest() for index in range((256 << 10) // 32))
