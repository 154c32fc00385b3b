"""What a site tells an appliance: files with paths and texts of several lines, an address, their limits."""

from __future__ import annotations

import json

import pytest

from flashvisor.errors import ConflictError, SiteError, WrongTypeError
from flashvisor.model.site import Appliance
from flashvisor.model.sitecheck.appliance import FILES_LIMIT
from flashvisor.model.sitefile import check_site, parse_site, site_schema

SITE = """\
schema = 1
[node]
name = "alpha"
[image.web]
file = "web.efi"
[guest.web]
image = "web"
memory = "64MiB"
nics = [{ network = "inside" }]
[network.inside]
subnet = "10.77.0.0/24"
[guest.web.appliance]
"""


def check(line: str) -> Appliance:
    site = parse_site(SITE + line)
    check_site(site)
    wish = site.guest["web"].appliance
    assert wish is not None
    return wish


def failure(line: str) -> SiteError:
    with pytest.raises(SiteError) as caught:
        check(line)
    return caught.value


def test_texts_may_have_lines_and_tabs() -> None:
    assert check('files = { "/etc/site.d/site.conf" = "a\\n\\tb é\\n", "/x" = "" }').files == {
        "/etc/site.d/site.conf": "a\n\tb é\n",
        "/x": "",
    }


def test_without_the_key_there_are_none() -> None:
    assert check("") == Appliance()


@pytest.mark.parametrize(
    "path", ["", "/", "etc/a", "/etc/", "/a//b", "/a/../b", "/..", "/.", "/a b", "/é", "/a\\n", "/" + "a" * 255]
)
def test_paths_are_absolute_and_plain(path: str) -> None:
    error = failure(f'files = {{ "{path}" = "x" }}')
    assert isinstance(error, WrongTypeError)
    assert "the name must be" in error.what


@pytest.mark.parametrize("path", ["/init", "/a/..b", "/a/.b", "/srv/www/app-1.2_x@y+z.css"])
def test_ordinary_paths_pass(path: str) -> None:
    assert check(f'files = {{ "{path}" = "x" }}').files == {path: "x"}


@pytest.mark.parametrize("text", ["\\u0000", "\\u007f", "\\r\\n", "\\u2028"])
def test_what_is_no_text_is_refused(text: str) -> None:
    assert "printable text" in failure(f'files = {{ "/a" = "{text}" }}').what


def test_other_keys_still_take_one_line_only() -> None:
    assert "one line of printable text" in failure('files_from = { "/a" = "b\\nc" }').what


def test_a_file_has_a_limit() -> None:
    text = "x" * 16_384
    assert check(f'files = {{ "/a" = "{text}" }}').files == {"/a": text}
    assert "16384" in failure(f'files = {{ "/a" = "{text}x" }}').what


def test_all_files_together_have_one_in_bytes() -> None:
    quarter = "é" * (FILES_LIMIT // 8)
    pairs = ", ".join(f'"/{name}" = "{quarter}"' for name in "abcd")
    check(f"files = {{ {pairs} }}")
    assert "expected at most 65,536 bytes together, got 65,537" in failure(f'files = {{ {pairs}, "/e" = "x" }}').what


def test_a_file_is_no_directory() -> None:
    error = failure('files = { "/a" = "x", "/a/b/c" = "y", "/ab" = "z" }')
    assert isinstance(error, ConflictError)
    assert 'guest.web.appliance.files: "/a" is a file, and the directory of "/a/b/c"' in error.what
    assert error.evidence == ""


def test_names_of_files_do_not_reach_a_server() -> None:
    error = failure('files_from = { "/a" = "a.conf" }')
    assert isinstance(error, WrongTypeError)
    assert "files_from: expected to be replaced by files" in error.what


def test_the_schema_says_what_a_path_is() -> None:
    schema = json.loads(json.dumps(site_schema()))
    files = schema["$defs"]["Appliance"]["properties"]["files"]
    assert files["propertyNames"]["maxLength"] == 255
    assert files["additionalProperties"]["maxLength"] == 16_384


def test_an_address_comes_with_gateway_and_name_servers() -> None:
    wish = check('address = "192.0.2.2/24"\ngateway = "192.0.2.1"\ndns = ["192.0.2.1", "198.51.100.1"]')
    assert (wish.address, wish.gateway, len(wish.dns)) == ("192.0.2.2/24", "192.0.2.1", 2)
    assert check('address = "192.0.2.2/30"').gateway is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('address = "192.0.2.2"', "appliance.address: expected an IPv4 address with its prefix"),
        ('address = "192.0.2.0/24"', "appliance.address: expected an IPv4 address with its prefix"),
        ('address = "192.0.2.255/24"', "appliance.address: expected an IPv4 address with its prefix"),
        ('address = "192.0.2.2/31"', "appliance.address: expected an IPv4 address with its prefix"),
        ('address = "2001:db8::2/64"', "appliance.address: expected an IPv4 address with its prefix"),
        ('address = "dhcp"', 'got "dhcp"'),
        ('address = "192.0.2.2/24"\ngateway = "198.51.100.1"', "gateway: expected another address inside 192.0.2.0/24"),
        ('address = "192.0.2.2/24"\ngateway = "192.0.2.2"', "gateway: expected another address inside 192.0.2.0/24"),
        ('address = "192.0.2.2/24"\ngateway = "x"', 'gateway: expected an IPv4 address, got "x"'),
        ('address = "192.0.2.2/24"\ndns = ["192.0.2.1", "x"]', 'dns[1]: expected an IPv4 address, got "x"'),
        ('address = "192.0.2.2/24"\ndns = ["1.1.1.1", "1.1.1.2", "1.1.1.3"]', "at most 2 name servers, got 3"),
        ('gateway = "192.0.2.1"', "appliance.gateway: without an address, DHCP gives it"),
        ('dns = ["192.0.2.1"]', "appliance.dns: without an address, DHCP gives it"),
    ],
)
def test_wrong_addresses_are_told(line: str, message: str) -> None:
    error = failure(line)
    assert message in error.what
    assert error.evidence == ""


def test_an_address_needs_a_card() -> None:
    text = (SITE + 'address = "192.0.2.2/24"\n').replace('nics = [{ network = "inside" }]\n', "")
    with pytest.raises(ConflictError, match="no card"):
        check_site(parse_site(text))
