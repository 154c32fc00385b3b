"""What an appliance is built of; tests/tools builds and starts them."""

from __future__ import annotations

import re

from flashvisor.image import appliance


def test_init_loads_the_modules_that_it_is_given() -> None:
    loaded = re.findall(r'MODULES "([a-z0-9_]+\.ko)"', appliance.SOURCE.read_text())
    assert tuple(loaded) == appliance.DISK_MODULES
