"""Names of PKCS#11 tokens and of keys on them: RFC 7512's URIs, as far as flashvisor takes them.

Pure::

    uri = parse("pkcs11:token=Owner%20Ltd?module-path=/usr/lib/softhsm/libsofthsm2.so")
    uri.token, uri.module
    str(replace(uri, id=key_id))

Source: RFC 7512, 2.3 and 2.4. PINs have no place in a name: `pin-value` and `pin-source` are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from flashvisor.errors import TokenUriError

SCHEME = "pkcs11:"
EVERY_MODULE = "libp11-kit.so.0"  # p11-kit's proxy: all modules that this machine has registered (pkcs11.conf(5))
OF_TOKEN = ("token", "manufacturer", "serial", "model")
OF_KEY = ("object", "id")
MODULE = "module-path"
PIN = "pin-"


@dataclass(frozen=True)
class TokenUri:
    """A token, or a key on it.

    Args:
        token: The token's label; this and the next three are compared as far as they are not empty.
        manufacturer: Its maker.
        serial: Its serial number.
        model: Its model.
        object: The key's label: for people.
        id: The key's CKA_ID; empty if a token is meant.
        module: Path of the PKCS#11 library; empty: any that p11-kit knows.
    """

    token: str = ""
    manufacturer: str = ""
    serial: str = ""
    model: str = ""
    object: str = ""
    id: bytes = b""
    module: str = ""

    def __str__(self) -> str:
        """As RFC 7512 writes it."""
        path = [f"{name}={quote(getattr(self, name), safe='')}" for name in OF_TOKEN if getattr(self, name)]
        if self.id:
            path.append("id=" + "".join(f"%{byte:02X}" for byte in self.id))
        if self.object:
            path.append(f"object={quote(self.object, safe='')}")
        return SCHEME + ";".join(path) + (f"?{MODULE}={quote(self.module, safe='/')}" if self.module else "")

    @property
    def names_key(self) -> bool:
        """Whether it names a key on the token."""
        return bool(self.id or self.object)

    @property
    def library(self) -> str:
        """What dlopen(3) is to be given."""
        return self.module or EVERY_MODULE


def parse(text: str) -> TokenUri:
    """Reads a URI.

    Raises:
        TokenUriError: it is none, names no token, or says what flashvisor does not take.
    """
    if not text.startswith(SCHEME):
        raise TokenUriError(f"expected a PKCS#11 URI that begins with '{SCHEME}', got '{text}'")
    path, _, query = text.removeprefix(SCHEME).partition("?")
    found = _attributes(path.split(";"), (*OF_TOKEN, *OF_KEY)) | _attributes(query.split("&"), (MODULE,))
    if not any(found.get(name) for name in OF_TOKEN):
        raise TokenUriError(f"'{text}' names no token: expected one of {', '.join(OF_TOKEN)}")
    raw = {name: found.get(name, b"") for name in OF_KEY + OF_TOKEN + (MODULE,)}
    try:
        words = {name: value.decode() for name, value in raw.items() if name != "id"}
    except UnicodeDecodeError as error:
        raise TokenUriError(f"'{text}' is not UTF-8 where it should be") from error
    return TokenUri(module=words.pop(MODULE), id=raw["id"], **words)


def _attributes(parts: list[str], known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, parts):
        name, equals, value = part.partition("=")
        if name.startswith(PIN):
            raise TokenUriError(
                "a PIN does not belong into a PKCS#11 URI: others see command lines",
                next_step="Put it into a file that FLASHVISOR_PIN_FILE names, or type it when asked.",
            )
        if not equals or name not in known or name in found:
            raise TokenUriError(f"'{part}' is not understood: expected each of {', '.join(known)} once at most")
        found[name] = unquote_to_bytes(value)
    return found
