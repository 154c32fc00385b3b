"""The answer to a burn, line by line: what was read back so far, and how it ended.

Example::

    last = end_of_burn(answer.iter_lines(), address, on_bytes)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flashvisor.api.types import BurnNews
from flashvisor.errors import StrangeAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flashvisor.api.address import Address
    from flashvisor.api.types import BurnReport, ErrorReport

EVIDENCE_LIMIT = 400  # characters of an unreadable line that an error shows


def end_of_burn(lines: Iterable[str], address: Address, on_bytes: Callable[[int], None]) -> BurnReport | ErrorReport:
    """Returns how a burn ended; `on_bytes` hears of the bytes that were read back before that.

    Raises:
        StrangeAnswerError: a line is not news of a burn, or the last one does not say how it ended.
    """
    for line in lines:
        try:
            news = msgspec.json.decode(line, type=BurnNews)
        except msgspec.MsgspecError as error:
            what = f"{address}: the answer is not what this version of flashvisor expects: {error}"
            raise StrangeAnswerError(what, evidence=line[:EVIDENCE_LIMIT]) from error
        end = news.error or news.done
        if end:
            return end
        on_bytes(news.compared)
    raise StrangeAnswerError(f"{address}: the answer ended before the burn did")
