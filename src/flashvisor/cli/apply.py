"""`flashvisor apply`: check here, plan there, upload what is missing, apply, confirm, wait for the guests."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.api import rollout
from flashvisor.api.bundle import CONFIRM_WITHIN, Bundle, hash_images, read_site
from flashvisor.api.types import ApplyReport, GuestReport, PlanReport
from flashvisor.cli.guest import print_guests
from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.progress import progress
from flashvisor.cli.session import connect, json_option, node_option

if TYPE_CHECKING:
    from flashvisor.api.client import Client

WAIT_LIMIT = 600.0  # seconds


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply --json` prints; what was not reached is null."""

    plan: PlanReport
    applied: ApplyReport | None = None
    confirmed: bool = False
    guests: tuple[GuestReport, ...] | None = None


@click.command("apply")
@click.argument("site", metavar="SITE", type=click.Path(path_type=Path))
@click.option("--plan-only", is_flag=True, help="Show what would be done, and stop.")
@click.option("--no-confirm", is_flag=True, help="Leave it to `flashvisor confirm`; the server goes back without it.")
@click.option(
    "--confirm-within",
    type=click.FloatRange(min=1),
    default=CONFIRM_WITHIN,
    show_default=True,
    metavar="SECONDS",
    help="When the server goes back by itself.",
)
@click.option("--wait", is_flag=True, help="Wait until the guests have answered.")
@click.option(
    "--wait-limit",
    type=click.FloatRange(min=1),
    default=WAIT_LIMIT,
    show_default=True,
    metavar="SECONDS",
    help="How long for each guest.",
)
@node_option
@json_option
def command(
    site: Path,
    *,
    plan_only: bool,
    no_confirm: bool,
    confirm_within: float,
    wait: bool,
    wait_limit: float,
    node: str,
    as_json: bool,
) -> None:
    """Bring a server to what the file SITE says."""
    bundle = _bundle(site)
    request = bundle.request(who=getpass.getuser(), confirm_within=confirm_within)
    with connect(node) as client:
        outcome = Outcome(plan=client.plan(request))
        if not as_json:
            _print_plan(outcome.plan)
        if not plan_only:
            _upload(client, bundle, outcome.plan.missing_images)
            with progress("applying", total=None):
                outcome = msgspec.structs.replace(outcome, applied=rollout.apply(client, request))
    if outcome.applied and not no_confirm:
        with progress("reaching the server again", total=None):
            rollout.confirm(lambda: connect(node), outcome.applied.confirm_within)
        outcome = msgspec.structs.replace(outcome, confirmed=True)
    if outcome.applied and wait:
        outcome = msgspec.structs.replace(outcome, guests=_wait(node, bundle, wait_limit))
    if as_json:
        print_json(outcome)
    else:
        _print_outcome(outcome)


def _bundle(path: Path) -> Bundle:
    source = read_site(path)
    with progress("reading images", total=source.image_bytes) as advance:
        return hash_images(source, advance)


def _upload(client: Client, bundle: Bundle, missing: tuple[str, ...]) -> None:
    for path, ref in bundle.uploads(missing):
        with progress(f"uploading {path.name}", total=ref.size) as advance:
            client.upload_image(path, advance, sha256=ref.sha256)


def _wait(node: str, bundle: Bundle, limit: float) -> tuple[GuestReport, ...]:
    names = rollout.expected_answers(bundle.source.site)
    with connect(node) as client:
        for name in names:
            with progress(f"waiting for {name} to answer", total=None):
                rollout.wait_for_guests(client, [name], limit)
        return rollout.wait_for_guests(client, names, limit)


def _print_plan(plan: PlanReport) -> None:
    if plan.actions:
        print_table(["do", "what", ""], [[action.verb, action.subject, action.detail] for action in plan.actions])
    else:
        click.echo("nothing to do: the server runs this site already")


def _print_outcome(outcome: Outcome) -> None:
    if outcome.applied is None:
        return
    applied = f"applied generation {outcome.applied.generation}"
    if outcome.confirmed:
        click.echo(f"{applied}, confirmed")
    else:
        within = outcome.applied.confirm_within
        click.echo(f"{applied}; the server goes back in {within:.0f} s unless you run `flashvisor confirm`")
    if outcome.guests:
        print_guests(outcome.guests)
