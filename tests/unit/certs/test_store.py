"""A store is made once, renewed when it must be, and never left half-written or overwritten unasked."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import files
from certs.authority import carried, permitted
from certs.errors import NameFault, StoreFault
from certs.store import Issued, Store

from .issuing import issue

ROOT = Path(__file__).parents[3]
DAY = timedelta(days=1)
START = datetime(2030, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
CONSTRAINTS = {"localhost", "127.0.0.0/8", "::1/128"}


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Return the moment it was set to."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock of the test's own."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    """Return a store that does not exist yet."""
    return Store(tmp_path / "store", clock)


def load(path: Path) -> x509.Certificate:
    """Return the one certificate of a file."""
    (certificate,) = x509.load_pem_x509_certificates(path.read_bytes())
    return certificate


def names(certificate: x509.Certificate) -> set[str]:
    """Return the names that a certificate carries, as text."""
    return {str(name) for name in carried(certificate)}


def constraints(store: Store) -> set[str]:
    """Return what the authority may speak for, as text."""
    return {str(one) for one in permitted(load(store.ca))}


def content(directory: Path) -> dict[str, bytes]:
    """Return all files of a store with their content."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_first(store: Store) -> None:
    """The first call makes the authority and the leaf, and says so."""
    issued = store.ensure("a.example", ["a.example", "*.B.example", "192.0.2.1"])
    assert issued == Issued(
        certificate=store.directory / "sites/a.example/certificate.pem",
        key=store.directory / "sites/a.example/key.pem",
        ca=store.directory / "ca/ca.pem",
        renewed=True,
        new_ca=True,
    )
    leaf = load(issued.certificate)
    assert names(leaf) == {"a.example", "*.b.example", "192.0.2.1"} | LOOPBACK
    assert constraints(store) == CONSTRAINTS | {"a.example", "b.example", "192.0.2.1/32"}
    leaf.verify_directly_issued_by(load(issued.ca))


def test_lifetimes(store: Store) -> None:
    """A leaf lives 90 days to the second, an authority ten years, and both began an hour ago."""
    leaf = load(store.ensure("a", ["a"]).certificate)
    assert leaf.not_valid_before_utc == START.replace(microsecond=0) - timedelta(hours=1)
    # Both ends of the validity count: RFC 5280 section 4.1.2.5.
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc + timedelta(seconds=1) == 90 * DAY
    assert load(store.ca).not_valid_after_utc - START > 3649 * DAY


def test_private(store: Store) -> None:
    """Keys are for their owner alone, and so are all directories."""
    store.ensure("a", ["a"])
    paths = [store.directory, *store.directory.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}
    keys = [path for path in paths if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert len(keys) == 2
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


NAMES = st.lists(
    st.sampled_from(
        ["a.example", "b.a.example", "*.a.example", "c.example", "localhost", "192.0.2.1", "::1"]
    ),
    max_size=5,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3), st.randoms())
def test_idempotent(
    tmp_path_factory: pytest.TempPathFactory, sites: list[list[str]], random: st.DrawFn
) -> None:
    """Whatever the names, and in whatever order they come, a second call changes no byte."""
    store = Store(tmp_path_factory.mktemp("store"))
    wanted = {f"site{number}": given_names for number, given_names in enumerate(sites)}
    store.ensure_all(wanted)
    before = content(store.directory)
    for site, given_names in wanted.items():
        again = store.ensure(site, sorted(given_names, key=lambda _: random.random()) + given_names[:1])  # type: ignore[attr-defined]
        assert (again.renewed, again.new_ca) == (False, False)
        assert names(load(again.certificate)) == {*given_names} | LOOPBACK
    assert content(store.directory) == before
    assert store.former() == []


def test_warm_call_is_fast(store: Store) -> None:
    """A call that has nothing to do takes under 30 ms of the processor."""
    store.ensure("a", ["a"])
    taken = []
    for _ in range(5):
        start = time.process_time()
        store.ensure("a", ["a"])
        taken.append(time.process_time() - start)
    assert min(taken) < 0.03


def test_fewer_names(store: Store) -> None:
    """A name that goes makes a new leaf under the same authority."""
    store.ensure("a", ["a.example", "b.example"])
    issued = store.ensure("a", ["a.example"])
    assert (issued.renewed, issued.new_ca) == (True, False)
    assert names(load(issued.certificate)) == {"a.example"} | LOOPBACK


def test_name_below(store: Store) -> None:
    """A name below one that is permitted needs no new authority, and renewing keeps the site's key."""
    key = store.ensure("a", ["a.example"]).key.read_bytes()
    issued = store.ensure("a", ["a.example", "b.a.example"])
    assert (issued.renewed, issued.new_ca) == (True, False)
    assert issued.key.read_bytes() == key


def test_name_outside(store: Store) -> None:
    """A name outside the constraints makes a new authority; all sites' leaves hang from it at once."""
    first = store.ensure("a", ["a.example"])
    old = load(first.ca)
    issued = store.ensure("b", ["b.example"])
    assert (issued.renewed, issued.new_ca) == (True, True)
    new = load(issued.ca)
    assert new.subject != old.subject
    assert new.public_key() != old.public_key()
    assert constraints(store) == CONSTRAINTS | {"a.example", "b.example"}
    for leaf in (first.certificate, issued.certificate):
        load(leaf).verify_directly_issued_by(new)
    again = store.ensure("a", ["a.example"])
    assert (again.renewed, again.new_ca) == (False, False)


def test_former(store: Store) -> None:
    """Of an authority that was replaced the certificate stays, for taking the trust back, and the key goes."""
    store.ensure("a", ["a.example"])
    old = load(store.ca)
    store.ensure("b", ["b.example"])
    assert [load(path) for path in store.former()] == [old]
    assert len(list(store.ca.parent.glob("*.key"))) == 1


def test_several_sites(store: Store) -> None:
    """Several sites at once need one new authority, not one each."""
    issued = store.ensure_all({"a": ["a.example"], "b": ["b.example"], "c": ["c.example"]})
    assert [one.new_ca for one in issued.values()] == [True] * 3
    assert store.former() == []
    assert store.leaves() == [one.certificate for one in issued.values()]


def test_authority_alone(store: Store) -> None:
    """The authority can be made before any site, for loopback alone."""
    assert store.ensure_authority() is True
    assert store.ensure_authority() is False
    assert constraints(store) == CONSTRAINTS


@pytest.mark.parametrize(
    ("age", "renewed"), [(59 * DAY, False), (61 * DAY, True), (200 * DAY, True), (-DAY / 2, True)]
)
def test_renewal(store: Store, clock: Clock, age: timedelta, renewed: bool) -> None:  # noqa: FBT001 -- a column
    """A leaf is renewed when a third of its life is left, or when it is not valid yet; the authority stays."""
    store.ensure_authority()
    clock.now += DAY
    store.ensure("a", [])
    clock.now += age
    issued = store.ensure("a", [])
    assert (issued.renewed, issued.new_ca) == (renewed, False)
    assert (
        load(issued.certificate).not_valid_before_utc
        < clock.now
        < load(issued.certificate).not_valid_after_utc
    )


def test_authority_ends(store: Store, clock: Clock) -> None:
    """An authority that would end before a new leaf is replaced, and the leaf with it."""
    store.ensure("a", ["a.example"])
    clock.now += 3600 * DAY
    issued = store.ensure("a", ["a.example"])
    assert (issued.renewed, issued.new_ca) == (True, True)
    assert constraints(store) == CONSTRAINTS | {"a.example"}
    assert len(store.former()) == 1


def test_clock_before_authority(store: Store, clock: Clock) -> None:
    """A clock that is years behind is a fault, not a reason to throw a trusted authority away."""
    store.ensure("a", [])
    before = content(store.directory)
    clock.now = datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(StoreFault, match=r"begins on 2030-06-01, .* says 1970-01-01; set the clock right"):
        store.ensure("a", [])
    assert content(store.directory) == before


@pytest.mark.parametrize("site", ["", ".", "..", "../a", "a/b", ".hidden", "a\0b", "a\nb", "a" * 300, "ä"])
def test_site_that_names_no_folder(store: Store, site: str) -> None:
    """A site that could lead out of the store is refused, and nothing is made."""
    with pytest.raises(NameFault):
        store.ensure(site, [])
    assert not store.directory.exists()


def test_bad_name(store: Store) -> None:
    """A name that no certificate can carry is refused, and nothing is made."""
    with pytest.raises(NameFault, match="'a b'"):
        store.ensure("a", ["a.example", "a b"])
    assert not store.directory.exists()


def authority_key(store: Store) -> Path:
    """Return the path of the authority's key."""
    (path,) = store.ca.parent.glob("*.key")
    return path


def dangle(_: Store, issued: Issued) -> None:
    """Put a link to nothing in the certificate's place."""
    issued.certificate.unlink()
    issued.certificate.symlink_to("nowhere")


FOREIGN = issue("a.example")

BROKEN: dict[str, tuple[Callable[[Store, Issued], object], str]] = {
    "empty authority": (
        lambda store, _: store.ca.write_bytes(b""),
        r"ca.pem: is empty; .*; or move \S+/ca away",
    ),
    "foreign authority": (
        lambda store, _: store.ca.write_bytes(FOREIGN.pem),
        r"ca.pem: is no authority made by wsfront; move \S+/ca away",
    ),
    "authority without key": (
        lambda store, _: authority_key(store).unlink(),
        r"\.key: the authority's key is missing; bring it back, or move \S+/ca away",
    ),
    "authority's key of another": (
        lambda store, _: authority_key(store).write_bytes(FOREIGN.key_pem),
        r"\.key: does not belong to \S+/ca.pem; bring the right key back, or move \S+/ca away",
    ),
    "authority's key open": (
        lambda store, _: authority_key(store).chmod(0o644),
        r"\.key: is open to other users \(mode 0644\); chmod 600 it",
    ),
    "cut leaf": (
        lambda _, issued: issued.certificate.write_bytes(issued.certificate.read_bytes()[:99]),
        r"certificate.pem: holds no certificate in PEM form .*; or move \S+/sites/a away",
    ),
    "foreign leaf": (
        lambda _, issued: issued.certificate.write_bytes(FOREIGN.pem),
        r"certificate.pem: was not issued by wsfront; move \S+/sites/a away",
    ),
    "leaf with others": (
        lambda _, issued: issued.certificate.write_bytes(issued.certificate.read_bytes() + FOREIGN.pem),
        r"certificate.pem: holds more than the one certificate that wsfront wrote; move \S+/sites/a away",
    ),
    "leaf without key": (
        lambda _, issued: issued.key.unlink(),
        r"key.pem: is missing beside its certificate; bring it back, or move \S+/sites/a away",
    ),
    "leaf's key of another": (
        lambda _, issued: issued.key.write_bytes(FOREIGN.key_pem),
        r"key.pem: does not belong to the certificate beside it; move \S+/sites/a away",
    ),
    "encrypted key": (
        lambda _, issued: issued.key.write_bytes(FOREIGN.encrypted_key_pem),
        r"key.pem: the key is encrypted, .*; or move \S+/sites/a away",
    ),
    "dangling link": (
        dangle,
        r"certificate.pem: there is no such file; .*; or move \S+/sites/a away",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(store: Store, name: str) -> None:
    """Broken or foreign content is named with the remedy, and never overwritten."""
    spoil, expected = BROKEN[name]
    spoil(store, store.ensure("a", ["a.example"]))
    before = content(store.directory)
    for wanted in (["a.example"], ["a.example", "other.example"]):
        with pytest.raises(StoreFault, match=expected) as caught:
            store.ensure("a", wanted)
        assert "\n" not in str(caught.value)
    assert content(store.directory) == before


def test_not_ecdsa(store: Store) -> None:
    """A key of another kind in a site's folder is not ours."""
    issued = store.ensure("a", [])
    issued.certificate.unlink()
    issued.key.write_bytes(issue(key=ed25519.Ed25519PrivateKey.generate()).key_pem)
    with pytest.raises(StoreFault, match=r"key.pem: is no ECDSA key and so was not made by wsfront"):
        store.ensure("a", [])


def test_interrupted_first_issue(store: Store) -> None:
    """A key that a first issue left alone is taken up again."""
    issued = store.ensure("a", [])
    key = issued.key.read_bytes()
    issued.certificate.unlink()
    again = store.ensure("a", [])
    assert again.renewed
    assert again.key.read_bytes() == key


def test_interrupted_new_authority(store: Store) -> None:
    """A new authority's key whose certificate never came is harmless, and swept away by the next one."""
    store.ensure("a", [])
    stray = store.ca.with_name("0123456789ab.key")
    stray.write_bytes(FOREIGN.key_pem)
    assert not store.ensure("a", []).new_ca
    assert store.ensure("a", ["other.example"]).new_ca
    assert not stray.exists()


def test_not_a_directory(tmp_path: Path) -> None:
    """A store that is a file is a fault in one line."""
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(StoreFault, match=r"file: cannot be used for certificates: "):
        Store(place).ensure("a", [])


def test_lock_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits too long for another process is told for what, and how to find the other."""
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    with (
        files.locked(store.directory),
        pytest.raises(
            StoreFault, match=r"\.lock: another process has held this lock for 0.05 s; see which: fuser"
        ),
    ):
        store.ensure("a", [])
    assert store.ensure("a", []).new_ca


CHILD = """
import sys
from pathlib import Path
from certs.store import Store
print("ready", flush=True)
sys.stdin.readline()
issued = Store(Path(sys.argv[1])).ensure(sys.argv[2], [sys.argv[2]])
print(issued.new_ca, flush=True)
"""


def test_several_processes(store: Store) -> None:
    """Processes that start at once make one authority between them, and every leaf hangs from it."""
    sites = [f"site{number}.localhost" for number in range(4)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, store.directory, site],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for site in sites
    ]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=30)[0] for child in children]
    assert [child.returncode for child in children] == [0] * len(sites)
    assert sorted(answers) == ["False\n"] * 3 + ["True\n"]
    new = load(store.ca)
    assert len(store.leaves()) == 4
    for path in store.leaves():
        load(path).verify_directly_issued_by(new)


LIMITED = """
import resource, sys
from datetime import datetime
from pathlib import Path
from certs.errors import StoreFault
from certs.store import Store
store = Store(Path(sys.argv[1]), lambda: datetime.fromisoformat(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    store.ensure("a", sys.argv[4:])
except StoreFault as fault:
    print(fault)
"""


def full(store: Store, now: datetime, room: int, *wanted: str) -> str:
    """Return what is said when a file may grow no further: fails in mid-write, as a full disk does."""
    child = [sys.executable, "-c", LIMITED, str(store.directory), now.isoformat(), str(room), *wanted]
    return subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.parametrize("room", [0, 100, 300])
@pytest.mark.parametrize(
    "wanted", [["a.example"], ["a.example", "other.example"]], ids=["renewal", "new authority"]
)
def test_full_disk(store: Store, clock: Clock, room: int, wanted: list[str]) -> None:
    """On a full disk the old files stay whole, nothing half-written stays, and the sentence says why."""
    store.ensure("a", ["a.example"])
    before = content(store.directory)
    clock.now += 80 * DAY
    said = full(store, clock.now, room, *wanted)
    assert "cannot be written: File too large; what was there is unharmed" in said
    assert said.count("\n") == 1
    assert content(store.directory) == before
    assert store.ensure("a", wanted).renewed


@pytest.mark.parametrize("room", [0, 100, 300])
def test_full_disk_at_first(store: Store, room: int) -> None:
    """On a full disk a first call leaves no file but the lock."""
    assert "cannot be written" in full(store, START, room, "a.example")
    assert [path.name for path in store.directory.rglob("*") if path.is_file()] == [".lock"]
    assert store.ensure("a", ["a.example"]).new_ca


def test_leftover_of_a_killed_process(store: Store, clock: Clock) -> None:
    """A temporary file that a killed process left is no hindrance, and does not stay."""
    issued = store.ensure("a", [])
    leftover = issued.certificate.with_name(".certificate.pem.new")
    leftover.write_bytes(b"half")
    clock.now += 80 * DAY
    assert store.ensure("a", []).renewed
    assert not leftover.exists()
