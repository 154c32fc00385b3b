"""Options of the commands that end in a trial: how long it may take, and what must answer in it."""

from __future__ import annotations

import click

from flashvisor.model.record import PROBATION_LIMIT, Trial

probation_option = click.option(
    "--probation",
    type=click.FloatRange(min=1, max=PROBATION_LIMIT),
    default=Trial().probation,
    show_default=True,
    help="Seconds from its start that the image has to prove itself.",
)
health_option = click.option(
    "--health-url", default="", help="What must answer in the trial; without one, the server waits until you reach it."
)
