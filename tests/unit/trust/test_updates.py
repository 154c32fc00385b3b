"""Every attack on an update has its own error; no altered metadata is ever taken for another release."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Timestamp

from flashvisor import errors
from flashvisor.flash.chunks import cut
from flashvisor.model.release import Flavour, Manifest, Memory
from flashvisor.trust.repository import LIFETIMES, Repository, newest_root, releases
from flashvisor.trust.roles import TUF_ROLES, RoleSigners
from flashvisor.trust.rootchain import next_root
from flashvisor.trust.updates import ISSUED, Clocks, VerifiedRelease, Want, Wish, check_chunk, drive, verify

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, tzinfo=UTC)
YEARS = timedelta(days=3653)
CLOCKS = Clocks(wall=NOW.timestamp(), built=(NOW - timedelta(days=30)).timestamp())
WISH = Wish("flashvisor", Flavour.KVM)


def fresh_keys(root: tuple[int, int] = (2, 3)) -> dict[str, RoleSigners]:
    count = dict.fromkeys(TUF_ROLES, (1, 1)) | {"root": root}
    return {role: RoleSigners([CryptoSigner.generate_ed25519() for _ in range(n)], m) for role, (m, n) in count.items()}


KEYS = fresh_keys()


def manifest(version: str) -> tuple[Manifest, bytes]:
    image = f"image {version}".encode() * 3000
    chunks = tuple(chunk for chunk, _ in cut(image))
    digest = hashlib.sha256(image).hexdigest()
    return Manifest(
        name="flashvisor",
        version=version,
        flavour=Flavour.KVM,
        sha256=digest,
        length=len(image),
        modaliases=("pci:v00008086d*",),
        chunks=chunks,
    ), image


@dataclass
class RepoSim:
    """A repository in memory that can lie."""

    files: dict[str, bytes]
    asked: list[Want] = field(default_factory=list)

    def fetch(self, want: Want) -> bytes | None:
        self.asked.append(want)
        return self.files.get(want.path)

    def one(self, pattern: str) -> str:
        return next(name for name in self.files if re.fullmatch(pattern, name))


def read(directory: Path) -> RepoSim:
    found = [path for path in directory.rglob("*") if path.is_file()]
    return RepoSim({str(path.relative_to(directory)): path.read_bytes() for path in found})


def chain(*generations: dict[str, RoleSigners]) -> tuple[bytes, ...]:
    """The roots of keys that followed each other."""
    roots: tuple[bytes, ...] = ()
    for number, keys in enumerate(generations):
        retired = generations[number - 1]["root"].signers if number else ()
        roots += (next_root(roots, keys, retired, NOW),)
    return roots


def publish(directory: Path, version: str, now: datetime = NOW, keys: dict[str, RoleSigners] = KEYS) -> RepoSim:
    release, image = manifest(version)
    Repository(directory, keys, chain(keys)).publish(release, cut(image), now)
    return read(directory)


def rotate(directory: Path, *generations: dict[str, RoleSigners]) -> RepoSim:
    """Signs a repository anew with the last of the keys that followed each other."""
    Repository(directory, generations[-1], chain(*generations)).refresh(NOW)
    return read(directory)


def memory_of(sim: RepoSim) -> Memory:
    return Memory(root=sim.files["1.root.json"])


def run(sim: RepoSim, memory: Memory, clocks: Clocks = CLOCKS, wish: Wish = WISH) -> VerifiedRelease:
    return drive(verify(memory, clocks, wish), sim.fetch)


def test_the_newest_release_is_verified_and_remembered(tmp_path: Path) -> None:
    publish(tmp_path, "1.9")
    sim = publish(tmp_path, "1.10")
    verdict = run(sim, memory_of(sim))
    assert verdict.manifest == manifest("1.10")[0]
    assert verdict.memory.release == "1.10"
    assert (verdict.memory.timestamp, verdict.memory.snapshot, verdict.memory.targets) == (2, 2, 2)
    assert verdict.memory.issued == NOW.timestamp()
    assert run(sim, verdict.memory) == verdict
    assert msgspec.json.decode(msgspec.json.encode(verdict.memory), type=Memory) == verdict.memory
    assert [release.version for release in releases(tmp_path)] == ["1.9", "1.10"]


def test_rollback_of_the_repository(tmp_path: Path) -> None:
    old = publish(tmp_path, "1.0")
    new = publish(tmp_path, "1.1")
    memory = run(new, memory_of(new)).memory
    with pytest.raises(errors.RollbackError, match="timestamp version 2 or newer, got 1"):
        run(old, memory)


@pytest.mark.parametrize(("role", "known"), [("snapshot", {"snapshot": 7}), ("targets", {"targets": 7})])
def test_rollback_behind_a_new_timestamp(tmp_path: Path, role: str, known: dict[str, int]) -> None:
    sim = publish(tmp_path, "1.0")
    with pytest.raises(errors.RollbackError, match=f"{role} version 7"):
        run(sim, msgspec.structs.replace(memory_of(sim), **known))


def test_rollback_of_the_release_unless_asked_for_by_version(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    memory = msgspec.structs.replace(memory_of(sim), release="1.1")
    with pytest.raises(errors.RollbackError, match=r"1\.1 was verified before"):
        run(sim, memory)
    verdict = run(sim, memory, wish=replace(WISH, version="1.0"))
    assert (verdict.manifest.version, verdict.memory.release) == ("1.0", "1.1")


def test_freeze(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    late = replace(CLOCKS, wall=(NOW + timedelta(days=93)).timestamp())
    with pytest.raises(errors.FreezeError, match=r"timestamp\.json expired"):
        run(sim, memory_of(sim), late)


def test_a_clock_ten_years_slow_does_not_bring_back_what_has_expired(tmp_path: Path) -> None:
    frozen = publish(tmp_path, "1.0")
    slow = replace(CLOCKS, wall=(NOW - YEARS).timestamp())
    known = msgspec.structs.replace(memory_of(frozen), issued=int((NOW + timedelta(days=93)).timestamp()))
    with pytest.raises(errors.FreezeError):
        run(frozen, known, slow)
    with pytest.raises(errors.FreezeError):
        run(frozen, memory_of(frozen), replace(slow, built=(NOW + timedelta(days=93)).timestamp()))
    with pytest.raises(errors.FreezeError):
        run(frozen, known, replace(slow, told=slow.wall))
    assert run(frozen, memory_of(frozen), slow).manifest.version == "1.0"


def test_a_clock_ten_years_fast_does_not_refuse_what_the_owner_pushes(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    fast = replace(CLOCKS, wall=(NOW + YEARS + YEARS).timestamp())
    with pytest.raises(errors.ExpiredError):
        run(sim, memory_of(sim), fast)
    verdict = run(sim, memory_of(sim), replace(fast, told=NOW.timestamp()))
    assert verdict.memory.issued == NOW.timestamp()


def test_expired_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIFETIMES, "targets", timedelta(1))
    sim = publish(tmp_path, "1.0")
    with pytest.raises(errors.ExpiredError, match=r"1\.targets\.json expired"):
        run(sim, memory_of(sim), replace(CLOCKS, wall=(NOW + timedelta(days=2)).timestamp()))


def test_mix_and_match(tmp_path: Path) -> None:
    first = publish(tmp_path / "one", "1.0")
    other = publish(tmp_path / "two", "2.0")
    for name in ("1.snapshot.json", "1.targets.json"):
        mixed = RepoSim(first.files | {name: other.files[name]})
        with pytest.raises(errors.MixAndMatchError, match=name):
            run(mixed, memory_of(first))


@pytest.mark.parametrize(
    "pattern", [r"2\.root\.json", r"timestamp\.json", r"1\.snapshot\.json", r"1\.targets\.json", "targets/.*"]
)
def test_endless_data(tmp_path: Path, pattern: str) -> None:
    sim = publish(tmp_path, "1.0")
    name = "2.root.json" if "root" in pattern else sim.one(pattern)
    sim.files[name] = sim.files.get(name, b"") + b" " * 5_000_000
    with pytest.raises(errors.EndlessDataError, match=re.escape(name)):
        run(sim, memory_of(sim))


def test_wrong_hash(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    name = sim.one("targets/.*")
    sim.files[name] = sim.files[name].replace(b'"1.0"', b'"9.0"')
    with pytest.raises(errors.WrongHashError):
        run(sim, memory_of(sim))


def test_chunks() -> None:
    chunk, data = next(cut(b"data" * 100))
    check_chunk(chunk, data)
    with pytest.raises(errors.WrongHashError):
        check_chunk(chunk, data[:-1])
    with pytest.raises(errors.WrongHashError):
        check_chunk(chunk, b"tada" * 100)
    with pytest.raises(errors.EndlessDataError):
        check_chunk(chunk, data + b"d")


def test_another_owners_repository(tmp_path: Path) -> None:
    ours = publish(tmp_path / "ours", "1.0")
    theirs = publish(tmp_path / "theirs", "1.0", keys=fresh_keys())
    with pytest.raises(errors.TooFewSignaturesError):
        run(theirs, memory_of(ours))


def test_one_of_two_root_signatures_is_too_few(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    rotate(tmp_path, KEYS, fresh_keys())
    content = msgspec.json.decode(read(tmp_path).files["2.root.json"])
    olds = [signer.public_key.keyid for signer in KEYS["root"].signers]
    content["signatures"] = [each for each in content["signatures"] if each["keyid"] not in olds[1:]]
    lying = read(tmp_path)
    lying.files["2.root.json"] = msgspec.json.encode(content)
    with pytest.raises(errors.TooFewSignaturesError):
        run(lying, memory_of(sim))


def test_signing_twice_with_one_key_does_not_count_twice(tmp_path: Path) -> None:
    doubled = KEYS["root"].signers[0]
    keys = KEYS | {"root": RoleSigners([doubled, doubled], 2)}
    with pytest.raises((errors.TooFewSignaturesError, ValueError)):
        publish(tmp_path, "1.0", keys=keys)


def test_rotated_keys_are_followed_and_old_ones_no_longer_count(tmp_path: Path) -> None:
    first = publish(tmp_path, "1.0")
    memory = run(first, memory_of(first)).memory
    second = rotate(tmp_path, KEYS, fresh_keys())
    verdict = run(second, memory)
    assert verdict.memory.root == second.files[newest_root(tmp_path)]
    with pytest.raises(errors.TooFewSignaturesError, match="timestamp"):
        run(first, verdict.memory)


def test_rotation_undoes_versions_and_times_that_a_stolen_key_pushed_forward(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    poisoned = msgspec.structs.replace(
        memory_of(sim), timestamp=999, snapshot=999, issued=int((NOW + YEARS + YEARS).timestamp())
    )
    with pytest.raises(errors.ExpiredError):
        run(sim, poisoned)
    assert run(rotate(tmp_path, KEYS, fresh_keys()), poisoned).memory.timestamp == 2


def test_a_gap_in_the_root_chain(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    lying = rotate(tmp_path, KEYS, KEYS, KEYS)
    lying.files["2.root.json"] = lying.files["3.root.json"]
    with pytest.raises(errors.RootChainError, match="expected root version 2, got 3"):
        run(lying, memory_of(sim))


def test_missing_files_and_releases(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    with pytest.raises(errors.NoSuchReleaseError):
        run(sim, memory_of(sim), wish=Wish("flashvisor", Flavour.XEN))
    with pytest.raises(errors.NoSuchReleaseError):
        run(sim, memory_of(sim), wish=replace(WISH, version="3.0"))
    del sim.files["timestamp.json"]
    with pytest.raises(errors.UpdateFileMissingError, match=r"timestamp\.json"):
        run(sim, memory_of(sim))


def test_a_time_of_issue_after_expiry_is_refused(tmp_path: Path) -> None:
    sim = publish(tmp_path, "1.0")
    metadata: Metadata[Timestamp] = Metadata.from_bytes(sim.files["timestamp.json"])
    metadata.signed.unrecognized_fields[ISSUED] = int((NOW + YEARS).timestamp())
    metadata.sign(KEYS["timestamp"].signers[0])
    sim.files["timestamp.json"] = metadata.to_bytes()
    with pytest.raises(errors.UpdateFormatError, match=ISSUED):
        run(sim, memory_of(sim))


def test_a_published_version_is_never_replaced(tmp_path: Path) -> None:
    publish(tmp_path, "1.0")
    changed = msgspec.structs.replace(manifest("1.0")[0], modaliases=())
    with pytest.raises(errors.RollbackError, match="published already"):
        Repository(tmp_path, KEYS, chain(KEYS)).publish(changed, [], NOW)


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> RepoSim:
    directory = tmp_path_factory.mktemp("rotated")
    publish(directory, "1.0")
    return rotate(directory, KEYS, KEYS)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_mutation_is_taken_for_another_release(rotated: RepoSim, data: st.DataObject) -> None:
    honest = run(rotated, memory_of(rotated))
    read_by_servers = sorted({want.path for want in rotated.asked} & rotated.files.keys())
    name = data.draw(st.sampled_from(read_by_servers))
    content = bytearray(rotated.files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    try:
        verdict = run(RepoSim(rotated.files | {name: bytes(content[:keep])}), memory_of(rotated))
    except errors.TrustError:
        return
    # Signatures beyond the threshold and white space may change; what is verified may not.
    assert verdict.manifest == honest.manifest
    assert msgspec.structs.replace(verdict.memory, root=b"") == msgspec.structs.replace(honest.memory, root=b"")


WITHOUT_CRYPTOGRAPHY = """
import sys
from pathlib import Path
sys.modules["cryptography"] = None
from flashvisor.errors import TooFewSignaturesError
from flashvisor.model.release import Flavour, Memory
from flashvisor.trust.updates import Clocks, Wish, drive, verify
root = Path(sys.argv[1])
def fetch(want):
    path = root / want.path
    if not path.exists():
        return None
    data = path.read_bytes()
    return data.replace(b'"version":1', b'"version":2') if want.path == sys.argv[3] else data
course = verify(Memory(root=(root / "1.root.json").read_bytes()), Clocks(wall=float(sys.argv[2]), built=0),
                Wish("flashvisor", Flavour.KVM))
try:
    print(drive(course, fetch).manifest.version)
except TooFewSignaturesError as error:
    print(error.code)
assert not [name for name in sys.modules if name.startswith("cryptography.")]
"""


@pytest.mark.parametrize(("altered", "said"), [("", "1.0"), ("timestamp.json", "FV-TRUST-108")])
def test_the_server_verifies_without_the_package_cryptography(tmp_path: Path, altered: str, said: str) -> None:
    publish(tmp_path, "1.0")
    argv = [sys.executable, "-c", WITHOUT_CRYPTOGRAPHY, str(tmp_path), str(NOW.timestamp()), altered]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (said, 0), done.stderr
