"""Where QEMU's source gets its lock."""

from __future__ import annotations

import pytest

from flashvisor.errors import SourceChangedError
from flashvisor.image.labqemu import locked

STATEMENT = "raise(IRQ);"
SOURCE = '#include "qemu/osdep.h"\n#include "cpu.h"\nif (due) {\n    raise(IRQ);\n}\n'


def test_the_statement_runs_under_the_lock() -> None:
    text = locked(SOURCE, STATEMENT)
    assert "    bql_lock(); raise(IRQ); bql_unlock();\n" in text
    assert text.startswith('#include "qemu/osdep.h"\n#include "qemu/main-loop.h"\n')


def test_a_header_that_is_there_is_not_included_twice() -> None:
    source = SOURCE.replace('#include "cpu.h"', '#include "qemu/main-loop.h"')
    assert locked(source, STATEMENT).count("main-loop.h") == 1


@pytest.mark.parametrize("source", ["", SOURCE + STATEMENT, SOURCE.replace("osdep", "other")])
def test_a_source_that_has_changed_is_refused(source: str) -> None:
    with pytest.raises(SourceChangedError, match="exactly once"):
        locked(source, STATEMENT)
