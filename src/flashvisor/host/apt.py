"""apt: where this machine gets Debian's packages from.

Owns reading apt's configuration; the mirror is the machine's own, never one written here. Source: sources.list(5).
"""

from __future__ import annotations

from pathlib import Path

from flashvisor.errors import NoNetworkError

SOURCES = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirrors(sources: Path = SOURCES) -> tuple[str, ...]:
    """Returns the URIs of Debian archives that this machine's apt uses, main archive first.

    Raises:
        NoNetworkError: apt has no Debian archive configured.
    """
    found: list[str] = []
    for file in [*sorted(sources.glob("sources.list.d/*.sources")), sources / "sources.list"]:
        if file.exists():
            found += _uris(file.read_text(), deb822=file.suffix == ".sources")
    wanted = [uri for uri in dict.fromkeys(found) if uri.rstrip("/").endswith(("/debian", "/debian-security"))]
    if not any(uri.rstrip("/").endswith("/debian") for uri in wanted):
        raise NoNetworkError(
            f"apt on this machine names no Debian archive (looked under {sources})",
            next_step="Add a Debian archive to /etc/apt/sources.list.d, or build on Debian 12 or 13.",
        )
    return tuple(sorted(wanted, key=lambda uri: uri.rstrip("/").endswith("-security")))


def source_lines(suite: str, *, with_sources: bool = False) -> list[str]:
    """Returns sources.list lines for a suite and its security updates, from this machine's mirrors."""
    lines = []
    for uri in mirrors():
        name = f"{suite}-security" if uri.rstrip("/").endswith("-security") else suite
        for kind in ("deb", "deb-src") if with_sources else ("deb",):
            lines.append(f"{kind} [signed-by={KEYRING}] {uri} {name} main")
    return lines


def _uris(text: str, *, deb822: bool) -> list[str]:
    uris: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if deb822 and line.startswith("URIs:"):
            uris += line.removeprefix("URIs:").split()
        elif not deb822 and line.startswith("deb "):
            uris += [word for word in line.split() if "://" in word][:1]
    return uris
