"""The image once more, wrong in one known way or only different: what updates are tried with.

Each is made from the built image: kernel and root as they are, and another command line, first program or name around
them. So a variant costs seconds, and is kept in the build cache by what went into it::

    variants = Variants(open_cache(), owner, built_image.unsigned)
    flash_image(variants.panics(), tmp_path / "flash.img", owner, "alpha")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flashvisor.host import cpio, ukify
from flashvisor.host.files import sha256_file
from flashvisor.host.pe import copy_section, sections
from flashvisor.host.sbsign import sign
from flashvisor.image.cache import Cache, Step, digest
from flashvisor.image.kernel import kernel
from flashvisor.image.nolibc import compile_program
from flashvisor.image.recipes import RECIPE
from flashvisor.image.trees import build_root
from flashvisor.image.workshop import EPOCH, workshop

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.workshop import Workshop
    from flashvisor.trust.keyring import Keyring

UNITS = "/usr/lib/systemd/system"
HANGS = "variant: the first program hangs"
SPACE = 1 << 28  # bytes
SHIFT = 600  # bytes; a section of the image begins at a multiple of 512, and the kernel takes 2048 of command line
# Places in recipe/init.c: before /dev moves into the root, and where systemd would be started.
MOVE_DEV = 'if (mount("/dev", ROOT "/dev", 0, MS_MOVE, 0))'
START = "execve(argv[0], argv, envp);"


@dataclass(frozen=True)
class Change:
    """What is different.

    Args:
        words: Added to the kernel's command line. Where it says a thing twice, the kernel takes the last.
        masked: Units of systemd that must not start.
        hangs: Whether the first program goes no further than to the root that it has mounted.
        version: Instead of the one in os-release.
    """

    words: str = ""
    masked: tuple[str, ...] = ()
    hangs: bool = False
    version: str = ""


@dataclass(frozen=True)
class Variants:
    """Makes them.

    Args:
        cache: The build cache.
        owner: The keyring that the image was built with.
        image: The image, unsigned (`BuildResult.unsigned`).
    """

    cache: Cache
    owner: Keyring
    image: Path

    def panics(self) -> Path:
        """Dies before user space: there is no first program of that name. A reset comes 5 s later (panic=)."""
        return self._signed(Change(words="rdinit=/nonexistent panic=5"))

    def hangs(self) -> Path:
        """Hangs before systemd: what resets it is the watchdog that it has started. Says HANGS on its console."""
        return self._signed(Change(hangs=True))

    def agentless(self) -> Path:
        """Systemd runs and feeds the watchdog, and the agent never comes."""
        return self._signed(Change(masked=("flashvisor-agent.service",)))

    def silent(self) -> Path:
        """The agent runs, and nobody reaches it: no card gets an address."""
        return self._signed(Change(masked=("systemd-networkd.service",)))

    def breaks_guests(self) -> Path:
        """All is well, but no guest starts: there is no KVM."""
        return self._signed(Change(words="module_blacklist=kvm_amd,kvm_intel"))

    def another(self, number: int = 2) -> Path:
        """As good as the image, and other bytes: another version, and a word that nobody reads."""
        return self._signed(self._another(number))

    def shifted(self, number: int = 3) -> Path:
        """As `another`, with so long a command line that kernel and root lie elsewhere: nearly all blocks differ."""
        return self._signed(replace(self._another(number), words=f"flashvisor.variant={number:0{SHIFT}}"))

    def unsigned(self) -> Path:
        """As good as the image, and nobody signed it."""
        return self._unsigned(self._another(2))

    def signed_by(self, stranger: Keyring, output: Path) -> Path:
        """As good as the image, and somebody else signed it. Not cached: a stranger is another one each time."""
        _sign(self.unsigned(), output, stranger)
        return output

    def _another(self, number: int) -> Change:
        return Change(words=f"flashvisor.variant={number}", version=f"0.1.0+variant{number}")

    def _signed(self, change: Change) -> Path:
        unsigned = self._unsigned(change)
        name = "flashvisor.efi"
        inputs = {"unsigned": sha256_file(unsigned), "certificate": digest(self.owner.certificate("db"))}
        step = Step("variant-signed", inputs, lambda place: _sign(unsigned, place / name, self.owner), space=SPACE)
        return self.cache.get(step) / name

    def _unsigned(self, change: Change) -> Path:
        tree, name = build_root(self.cache), "flashvisor.unsigned.efi"
        program = first_program((RECIPE / "init.c").read_text(), change)

        def make(place: Path) -> None:
            with workshop(tree, place, self.cache.root / "logs/variant.log") as shop:
                cmdline, os_release, uname = self._take_apart(shop)
                if program:
                    self._replace_first(shop, program)
                words = f"{cmdline} {change.words}".strip()
                parts = ukify.Parts("linux", "initrd.cpio", words, renamed(os_release, change.version), uname)
                ukify.build(tree, shop.work, parts, name)
                shop.keep(name, place)

        inputs = {"image": sha256_file(self.image), "change": repr(change), "program": digest(program)}
        return self.cache.get(Step("variant", inputs, make, title="Variant", space=SPACE)) / name

    def _take_apart(self, shop: Workshop) -> tuple[str, str, str]:
        """Puts kernel and initramfs into the workshop; returns the image's texts."""
        table = sections(self.image)
        for section in (".linux", ".initrd", ".cmdline", ".osrel", ".uname"):
            copy_section(self.image, table[section], shop.work / section[1:])
        (shop.work / "initrd").rename(shop.work / "initrd.cpio")
        cmdline, os_release, uname = ((shop.work / name).read_text() for name in ("cmdline", "osrel", "uname"))
        return cmdline.strip("\0\n "), os_release, uname.strip("\0\n ")

    def _replace_first(self, shop: Workshop, program: str) -> None:
        nolibc = kernel(self.cache, self.owner.module_key) / "nolibc"
        cpio.unpack(shop.root, shop.work, "initrd.cpio", "initrd")
        (shop.work / "initrd/empty").touch(mode=0o644)
        compile_program(shop, nolibc, program, "initrd/init")
        (shop.work / "initrd/init").chmod(0o755)
        (shop.work / "initrd.cpio").unlink()
        cpio.pack(shop.root, shop.work, "initrd", "initrd.cpio", epoch=EPOCH)


def first_program(source: str, change: Change) -> str:
    """Returns recipe/init.c with a change; "" if the image's own will do.

    Raises:
        ValueError: the source does not look as it did.
    """
    added = {
        # An empty unit is a masked one (systemd.unit(5)).
        MOVE_DEV: "".join(
            f'if (mount("/empty", ROOT "{UNITS}/{unit}", 0, MS_BIND, 0))\n\t\treturn fail("mask {unit}");\n\t'
            for unit in change.masked
        ),
        START: f'write(2, "{HANGS}\\n", {len(HANGS) + 1});\n\tfor (;;)\n\t\tsleep(60);\n\t' if change.hangs else "",
    }
    if not any(added.values()):
        return ""
    for place, text in added.items():
        if source.count(place) != 1:
            raise ValueError(f"init.c does not hold '{place}' exactly once")
        source = source.replace(place, text + place)
    return source


def renamed(os_release: str, version: str) -> str:
    """Returns an os-release with another VERSION_ID and IMAGE_VERSION, or as it is if `version` is ""."""
    if not version:
        return os_release
    lines = [
        f"{name}={version}" if name in {"VERSION_ID", "IMAGE_VERSION"} else line
        for line in os_release.splitlines()
        for name in [line.partition("=")[0]]
    ]
    return "\n".join(lines) + "\n"


def _sign(image: Path, output: Path, keyring: Keyring) -> None:
    with keyring.unlocked("db") as files:
        sign(image, output, key=files.key, cert=files.cert)
