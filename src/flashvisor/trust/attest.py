"""What a server started, compared with what it should have started, in plain words. Pure. Admin side only.

Owns the words and the rules. What the TPM signed is checked by quote.py, the log is read by measure.py::

    measured = read(answer, nonce)                       # signature, nonce, PCRs and log belong together
    findings = compare(measured, expected, owner=keys, known=firmware)
    [each.what for each in findings if not each.good]    # ["Secure Boot is off"]

Whoever started something else has its measurement in the PCRs, and can add to them but never take away. So each PCR is
judged as a whole: an event that is not among those expected is one too many, whatever the log says of its type.

Sources: TCG PC Client Platform Firmware Profile 1.06, 3.3.4 (what each PCR holds); systemd-stub(7), "TPM PCR notes".
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from flashvisor.errors import FalseEventLogError
from flashvisor.trust import measure, quote, signatures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flashvisor.host.tpm import Quote
    from flashvisor.model.measurement import Measurements
    from flashvisor.trust.measure import Event

# Firmware code, drivers of cards, programs started, Secure Boot, the stub's sections, parameters, extensions.
FIRMWARE, CARDS, PROGRAMS, SECURE_BOOT, SECTIONS, PARAMETERS, EXTENSIONS = 0, 2, 4, 7, 11, 12, 13
PCRS = (FIRMWARE, CARDS, PROGRAMS, SECURE_BOOT, SECTIONS, PARAMETERS, EXTENSIONS)
KEYS = ("PK", "KEK", "db")
PARTS = {
    ".linux": "kernel", ".osrel": "name and version", ".cmdline": "kernel command line", ".initrd": "root file system",
    ".uname": "kernel version", ".sbat": "revocation level",
}  # fmt: skip
SHOWN = 16  # hex digits of a hash that people are shown
Firmware = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Measured:
    """What a server's TPM vouches for.

    Args:
        key: Name of the TPM's key, hex.
        events: The firmware's log; it leads to `values`.
        values: What the PCRs hold, by number.
    """

    key: str
    events: tuple[Event, ...]
    values: Mapping[int, bytes]

    def firmware(self) -> Firmware:
        """Returns the digests (hex) of all events of the firmware's own PCRs, by PCR: what a later attest compares."""
        return {str(pcr): tuple(event.digest.hex() for event in self.of(pcr)) for pcr in (FIRMWARE, CARDS)}

    def of(self, pcr: int) -> tuple[Event, ...]:
        """Returns the events of one PCR."""
        return measure.of_pcr(self.events, pcr)


@dataclass(frozen=True)
class Finding:
    """One thing that was compared: its PCR, whether it is as it should be, and a sentence for people."""

    pcr: int
    good: bool
    what: str


def read(answer: Quote, nonce: bytes) -> Measured:
    """Makes sure that signature, question, values and log belong together.

    Raises:
        BadQuoteError: the TPM did not sign these values for this nonce.
        EventLogFormatError: the log cannot be read.
        FalseEventLogError: the log leads elsewhere.
    """
    key = quote.check(answer, nonce, PCRS)
    values = dict(zip(PCRS, answer.values, strict=True))
    events = measure.parse(answer.log)
    replayed = measure.replay(events)
    false = [pcr for pcr in PCRS if replayed.get(pcr, bytes(measure.DIGEST)) != values[pcr]]
    if false:
        names = ", ".join(str(pcr) for pcr in false)
        lines = [
            f"PCR {pcr}: {values[pcr].hex()}, by the log {replayed.get(pcr, b'').hex() or 'nothing'}" for pcr in false
        ]
        raise FalseEventLogError(
            f"the event log does not explain what the TPM holds in PCR {names}", evidence="\n".join(lines)
        )
    return Measured(key=key, events=events, values=values)


def compare(
    measured: Measured, expected: Measurements, *, owner: Mapping[str, bytes] | None, known: Firmware | None
) -> tuple[Finding, ...]:
    """Returns all that was compared, what differs and what does not.

    Args:
        measured: From `read`.
        expected: The image that should run.
        owner: What the owner's PK, KEK and db hold (signature lists, newest certificate first); None: Secure Boot is
            not looked at.
        known: The firmware's digests as they were at an earlier attest; None: there was none.
    """
    found = [*_programs(measured, expected), *_sections(measured, expected), *_additions(measured)]
    if owner is not None:
        found += _secure_boot(measured, owner)
    if known is not None:
        found += [_same(measured, pcr, known.get(str(pcr), ())) for pcr in (FIRMWARE, CARDS)]
    return tuple(found)


def _programs(measured: Measured, expected: Measurements) -> list[Finding]:
    """PCR 4: which programs firmware started. All that is not the firmware's own short remark counts as one."""
    programs = [
        event.digest.hex() for event in measured.of(PROGRAMS) if event.digest != measure.SEPARATOR and not event.text
    ]
    if programs == [expected.image]:
        return [_good(PROGRAMS, f"{expected.title} was started, and nothing else")]
    if not programs:
        return [_bad(PROGRAMS, "the firmware measured no program: it does not say what it started")]
    if expected.image not in programs:
        shown = ", ".join(_short(each) for each in programs)
        what = f"another image was started: expected {expected.title} ({_short(expected.image)}), measured {shown}"
        return [_bad(PROGRAMS, what)]
    others = [_short(each) for each in programs if each != expected.image]
    found = [_bad(PROGRAMS, f"besides {expected.title}, another program was started: {each}") for each in others]
    return found or [_bad(PROGRAMS, f"{expected.title} was started more than once")]


def _sections(measured: Measured, expected: Measurements) -> list[Finding]:
    """PCR 11: for each section of the image, the stub extends its name with a zero byte, then its contents."""
    wanted = []
    for section in expected.sections:
        wanted += [hashlib.sha256(section.name.encode() + b"\0").hexdigest(), section.sha256]
    got = [event.digest.hex() for event in measured.of(SECTIONS)]
    if got == wanted:
        return [_good(SECTIONS, "kernel, command line and root file system are those that were built")]
    if not got:
        return [_bad(SECTIONS, "the image measured none of its parts: it is not one of flashvisor's")]
    others = [section.name for section in expected.sections if section.sha256 not in got]
    found = [
        _bad(SECTIONS, f"its {PARTS.get(name, 'section')} ({name}) is not the one that was built") for name in others
    ]
    return found or [_bad(SECTIONS, f"its parts were measured in another way: {len(got)} times, not {len(wanted)}")]


def _additions(measured: Measured) -> list[Finding]:
    """PCR 12 and 13: what the stub takes from beside the image. Our images are whole: there is nothing to take."""
    words = {PARAMETERS: "parameters or credentials", EXTENSIONS: "system extensions"}
    added = [pcr for pcr in words if any(measured.values[pcr])]
    if not added:
        return [_good(PARAMETERS, "nothing was added to the image")]
    return [_bad(pcr, f"{words[pcr]} were added to the image") for pcr in added]


def _secure_boot(measured: Measured, owner: Mapping[str, bytes]) -> list[Finding]:
    """PCR 7 up to the firmware's mark: Secure Boot's variables, and remarks that it is not as it should be."""
    variables: dict[str, list[bytes]] = {}
    found: list[Finding] = []
    for event in measured.of(SECURE_BOOT):
        if event.digest == measure.SEPARATOR:
            break
        variable = measure.variable(event)
        if variable:
            variables.setdefault(variable.name, []).append(variable.data)
        else:
            found.append(_bad(SECURE_BOOT, f"the firmware says: {event.text or _short(event.digest.hex())}"))
    switch = variables.get("SecureBoot", [])
    if not switch or any(data != b"\x01" for data in switch):
        return [*found, _bad(SECURE_BOOT, "Secure Boot is off: firmware starts whatever lies in the flash")]
    for name in KEYS:
        for data in variables.get(name, [b""]):
            found += _keys(name, data, owner[name])
    return found or [_good(SECURE_BOOT, "Secure Boot is on, with your keys and no others")]


def _keys(name: str, data: bytes, owner: bytes) -> list[Finding]:
    """Compares a variable's entries with the owner's: the newest must be there, and nobody else's may be."""
    ours = signatures.entries(owner)
    try:
        theirs = signatures.entries(data)
    except (struct.error, ValueError):
        return [_bad(SECURE_BOOT, f"{name} does not hold keys")]
    found = [
        _bad(SECURE_BOOT, f"{name} holds a key that is not yours: {_subject(each)}")
        for kind, each in theirs
        if (kind, each) not in ours
    ]
    if ours[0] not in theirs:
        found.append(_bad(SECURE_BOOT, f"{name} does not hold your key"))
    return found


def _same(measured: Measured, pcr: int, known: Sequence[str]) -> Finding:
    """PCR 0 and 2: nobody but the maker knows what they should be, but they should be what they were."""
    subject = {FIRMWARE: "the firmware", CARDS: "the cards' own firmware"}[pcr]
    events = measured.of(pcr)
    now = [event.digest.hex() for event in events]
    if now == list(known):
        return _good(pcr, f"{subject} is the same as before")
    new = [f"{event.word} ({_short(event.digest.hex())})" for event in events if event.digest.hex() not in known]
    gone = sum(digest not in now for digest in known)
    parts = [f"new: {', '.join(new)}"] if new else []
    parts += [f"{gone} of {len(known)} earlier measurements are gone"] if gone else []
    return _bad(pcr, f"{subject} changed since the last attest; {'; '.join(parts) or 'its parts are in another order'}")


def _good(pcr: int, what: str) -> Finding:
    return Finding(pcr=pcr, good=True, what=what)


def _bad(pcr: int, what: str) -> Finding:
    return Finding(pcr=pcr, good=False, what=what)


def _short(digest: str) -> str:
    return f"sha256 {digest[:SHOWN]}…"


def _subject(entry: bytes) -> str:
    try:
        name = x509.load_der_x509_certificate(entry).subject.rfc4514_string()
    except ValueError:
        return _short(hashlib.sha256(entry).hexdigest())
    return "".join(each if each.isprintable() else " " for each in name)
