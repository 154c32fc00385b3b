"""Options of the commands that end in a trial: how long it may take, and what must answer in it."""

from __future__ import annotations

import re

import click

from flashvisor.api.flashtypes import HEALTH_URL
from flashvisor.model.record import PROBATION_LIMIT, Trial

probation_option = click.option(
    "--probation",
    type=click.FloatRange(min=1, max=PROBATION_LIMIT),
    default=Trial().probation,
    show_default=True,
    help="Seconds from its start that the image has to prove itself.",
)


def _url(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value and re.search(HEALTH_URL, value) is None:
        raise click.BadParameter(f"expected a URL with http:// or https://, got '{value}'")
    return value


health_option = click.option(
    "--health-url",
    default="",
    callback=_url,
    help="What must answer in the trial; without one, the server waits until you reach it.",
)


def how_it_ends(probation: float, health_url: str) -> str:
    """Returns what must happen now, for people that do not wait for it."""
    sign = f"{health_url} answers" if health_url else "you reach it (`flashvisor slots` does)"
    return f"it keeps the image if {sign} and its guests run within {probation:.0f} s of its start; else it goes back"
