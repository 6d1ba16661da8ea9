"""`htaccess --into`: one file changed whole or not at all, and whatever cannot be is left untouched, in one line."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apache import block
from tests.unit.cli.commands import COMMAND, ROOT, wsfront
from tests.waiting import SECOND

CONTENT = b"# caf\xe9\r\nErrorDocument 404 /missing.html\r\nOptions -Indexes"
SEED = (
    b"RewriteEngine On\n"
    b"RewriteCond %{HTTP:Connection} Upgrade [NC]\n"
    b"RewriteCond %{HTTP:Upgrade} websocket [NC]\n"
    b"RewriteRule ^/?(.*) ws://127.0.0.1:8888/$1 [P,L,E=noconntimeout:1,E=noabort:1]\n"
)
WHOLE = block.insert(b"", "RewriteEngine On\n")
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return an .htaccess with a customary content."""
    path = tmp_path / ".htaccess"
    path.write_bytes(CONTENT)
    return path


def state(folder: Path) -> Iterator[tuple[object, ...]]:
    """Return all that a change in a folder would show in: names, types, modes, owners, times, contents."""
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        yield path, status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_mtime_ns, content


def assert_refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    """The exit status is 2, and exactly one line says why."""
    assert (done.returncode, done.stdout) == (2, ""), done
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_in_and_out_again(file: Path) -> None:
    """The rules stand at the top; taken out again, the file has the bytes, mode and name that it had."""
    file.chmod(0o640)
    assert wsfront("htaccess", "--into", file).returncode == 0
    changed = file.read_bytes()
    assert changed.startswith(block.BEGIN)
    assert changed.endswith(CONTENT)
    assert wsfront("htaccess", "--into", file, "--remove").returncode == 0
    assert file.read_bytes() == CONTENT
    assert file.stat().st_mode & 0o777 == 0o640


def test_second_time_changes_nothing(file: Path) -> None:
    """A file that has the rules is left alone, time, backup and all."""
    wsfront("htaccess", "--into", file)
    before = list(state(file.parent))
    done = wsfront("htaccess", "--into", file)
    assert (done.returncode, list(state(file.parent))) == (0, before)


def test_changed_description_changes_the_block_alone(file: Path, tmp_path: Path) -> None:
    """Another port replaces the block in its place."""
    site = tmp_path / "site.yaml"
    site.write_text("websockets: [{path: /ws/, backend: 127.0.0.1:9999}]\n")
    wsfront("htaccess", "--into", file)
    assert wsfront("htaccess", "--into", file, "--site", site).returncode == 0
    changed = file.read_bytes()
    assert (changed.count(block.BEGIN), changed.count(b"8888")) == (1, 0)
    assert b"127.0.0.1:9999" in changed
    assert block.remove(changed) == CONTENT


def test_file_is_made_where_there_was_none(tmp_path: Path) -> None:
    """In a folder without an .htaccess one is made that the server can read, and no backup of nothing."""
    path = tmp_path / ".htaccess"
    assert wsfront("htaccess", "--into", path).returncode == 0
    assert [each.name for each in tmp_path.iterdir()] == [".htaccess"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", [".htaccess", "htaccess.txt", ".access"])
def test_backup_is_kept_where_nobody_is_served(tmp_path: Path, name: str) -> None:
    """What the file was is kept beside it under a name that begins with .ht, which servers refuse, and nothing else is left."""
    (tmp_path / name).write_bytes(CONTENT)
    assert wsfront("htaccess", "--into", tmp_path / name).returncode == 0
    (backup,) = (path for path in tmp_path.iterdir() if path.name != name)
    assert backup.name.startswith(".ht")
    assert backup.read_bytes() == CONTENT


def test_extended_attributes_are_kept(file: Path) -> None:
    """The file keeps what others have attached to it."""
    try:
        os.setxattr(file, "user.origin", b"panel")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    wsfront("htaccess", "--into", file)
    assert os.getxattr(file, "user.origin") == b"panel"


@as_root
def test_owner_is_kept(file: Path) -> None:
    """Root changes somebody's file, and it stays theirs, and so does the backup."""
    os.chown(file, NOBODY, NOBODY)
    wsfront("htaccess", "--into", file)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in file.parent.iterdir()} == {(NOBODY, NOBODY)}


REFUSED: dict[str, tuple[bytes, str]] = {
    "begin only": (block.BEGIN + b"\n" + CONTENT, "half a block"),
    "end only": (CONTENT + b"\r\n" + block.END, "half a block"),
    "end before begin": (block.END + b"\n" + block.BEGIN + b"\n", "half a block"),
    "two blocks": (WHOLE + WHOLE, "2 blocks"),
    "edited by hand": (WHOLE.replace(b"On", b"Off"), "edited between the markers"),
    "UTF-16": (CONTENT.decode("latin-1").encode("utf-16"), "not text"),
    "binary": (bytes(range(256)), "not text"),
    "10 MB": (b"# padding\n" * 1_000_000, "larger than 1 MiB"),
}
ENGINE_OFF = ("RewriteEngine On\nRewriteRule a b\nRewriteEngine Off\n", "line 3")


@pytest.mark.parametrize("verb", [(), ("--remove",), ("--replace",)], ids=["into", "remove", "replace"])
@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_content_that_is_refused(file: Path, content: bytes, words: str, verb: tuple[str, ...]) -> None:
    """What cannot take a block, or give one up, is left as it is, whatever was asked."""
    file.write_bytes(content)
    before = list(state(file.parent))
    assert_refused(wsfront("htaccess", "--into", file, *verb), words)
    assert list(state(file.parent)) == before


def test_engine_that_is_off_in_the_end(file: Path) -> None:
    """Rules that a later line would switch off are not put in."""
    file.write_text(ENGINE_OFF[0])
    before = list(state(file.parent))
    assert_refused(wsfront("htaccess", "--into", file), ENGINE_OFF[1])
    assert list(state(file.parent)) == before


def test_places_that_are_refused(tmp_path: Path) -> None:
    """A symbolic link, a read-only file, a folder, a pipe, what is not there: each is named, and nothing is made."""
    (real := tmp_path / "real").write_bytes(CONTENT)
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "readonly").write_bytes(CONTENT)
    (tmp_path / "readonly").chmod(0o444)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = list(state(tmp_path))
    for name, words in (
        ("link", f"name the file itself, {real}"),
        ("dangling", "symbolic link"),
        ("readonly", "read-only"),
        ("folder", "no regular file"),
        ("pipe", "no regular file"),
        ("missing/.htaccess", "no such folder"),
        ("real/.htaccess", "cannot be read"),
    ):
        assert_refused(wsfront("htaccess", "--into", tmp_path / name), words)
    assert_refused(wsfront("htaccess", "--into", tmp_path / ".htaccess", "--remove"), "no such file")
    assert list(state(tmp_path)) == before


def test_options_that_need_a_file() -> None:
    """To remove or to replace, a file must be named."""
    for option in ("--remove", "--replace"):
        assert_refused(wsfront("htaccess", option), "need --into FILE")


def without_privileges(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the verb as root without a root's powers, so to the kernel like any user (capabilities(7))."""
    command = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        *COMMAND,
        "htaccess",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60 * SECOND)


@as_root
def test_folder_without_permission(file: Path) -> None:
    """Whoever may write the file but not its folder is told so: to write in place could leave half a file."""
    file.chmod(0o666)
    os.chown(file.parent, NOBODY, NOBODY)
    file.parent.chmod(0o755)
    before = list(state(file.parent))
    assert_refused(without_privileges("--into", file), "Permission denied")
    assert list(state(file.parent)) == before


@as_root
def test_file_of_another_user(file: Path) -> None:
    """Whoever could not give the file back to its owner is told to be the owner."""
    file.chmod(0o666)
    os.chown(file, NOBODY, NOBODY)
    before = list(state(file.parent))
    assert_refused(without_privileges("--into", file), "belongs to another user")
    assert list(state(file.parent)) == before


@as_root
def test_file_that_may_not_be_written(file: Path) -> None:
    """Whoever may write the folder but not the file does not go behind the owner's back."""
    os.chown(file, NOBODY, NOBODY)
    before = list(state(file.parent))
    assert_refused(without_privileges("--into", file), "read-only")
    assert list(state(file.parent)) == before


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("filler", [60_000, 57_000], ids=["no room", "room for one of two"])
def test_full_disk(tmp_path: Path, filler: int) -> None:
    """On a disk without room for the new file and the backup nothing is changed, and nothing is left."""
    setup = f"""
        mount -t tmpfs -o size=64k tmpfs {tmp_path}
        printf 'Options -Indexes\\n' >{tmp_path}/.htaccess
        head -c {filler} /dev/zero >{tmp_path}/filler
        ls -lA --full-time {tmp_path} >/proc/self/fd/2
        trap 'ls -lA --full-time {tmp_path} >&2' EXIT
        """
    words = ("htaccess", "--into", str(tmp_path / ".htaccess"))
    command = ["unshare", "-m", "sh", "-ec", f'{setup}\n"$@"\n', "sh", *COMMAND, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60 * SECOND)
    before, message, after = done.stderr.partition(
        next(line for line in done.stderr.splitlines() if line.startswith("wsfront:"))
    )
    assert done.returncode == 1
    assert "No space left on device: nothing was changed" in message
    assert before.strip() == after.strip()


def test_killed_at_any_time(file: Path) -> None:
    """Whenever the command is killed, the file is the old one or the new one."""
    wsfront("htaccess", "--into", file)
    new = file.read_bytes()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    seen = set()
    for step in range(8):
        file.write_bytes(CONTENT)
        process = subprocess.Popen(
            [*COMMAND, "htaccess", "--into", file], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        time.sleep(step * 0.1 * SECOND)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(file.read_bytes())
    assert seen <= {CONTENT, new}


def test_copied_rule_is_offered_for_replacement(file: Path) -> None:
    """A rule copied from elsewhere stops the command: status 1, the replacement as a diff, nothing changed."""
    file.write_bytes(SEED + CONTENT)
    before = list(state(file.parent))
    done = wsfront("htaccess", "--into", file)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "--replace" in done.stderr
    lines = done.stdout.splitlines()
    assert f"-{SEED.decode().splitlines()[-1]}" in lines
    assert "+# END wsfront" in lines
    assert list(state(file.parent)) == before


@pytest.mark.needs("patch")
def test_diff_is_one_that_patch_takes(file: Path) -> None:
    """What is offered is a whole unified diff: applied by patch(1), it gives what --replace gives."""
    file.write_bytes(SEED + b"# last, without a line's end")
    diff = wsfront("htaccess", "--into", file).stdout
    by_patch = file.with_name("patched")
    subprocess.run(["patch", "-s", "-o", by_patch, file], input=diff, text=True, check=True)
    wsfront("htaccess", "--into", file, "--replace")
    assert by_patch.read_bytes() == file.read_bytes()


def test_copied_rule_is_replaced(file: Path) -> None:
    """With --replace the copied rule goes, ours comes, and the backup has what was there; once more changes nothing."""
    file.write_bytes(SEED + CONTENT)
    assert wsfront("htaccess", "--into", file, "--replace").returncode == 0
    changed = file.read_bytes()
    assert block.remove(changed) == b"RewriteEngine On\n" + CONTENT
    assert (file.parent / ".htaccess.wsfront-backup").read_bytes() == SEED + CONTENT
    assert wsfront("htaccess", "--into", file, "--replace").returncode == 0
    assert file.read_bytes() == changed


def test_seed_without_its_engine_is_replaced(file: Path) -> None:
    """The three lines alone, which lack `RewriteEngine On`, are replaced as well."""
    file.write_bytes(b"".join(SEED.splitlines(keepends=True)[1:]))
    assert wsfront("htaccess", "--into", file).returncode == 1
    assert wsfront("htaccess", "--into", file, "--replace").returncode == 0
    assert block.remove(file.read_bytes()) == b""


def test_byte_order_mark_is_kept_and_told(file: Path) -> None:
    """A file that begins with a byte order mark, which Apache answers with 500, gets its block, and a word about it."""
    file.write_bytes(b"\xef\xbb\xbf" + CONTENT)
    done = wsfront("htaccess", "--into", file)
    assert (done.returncode, "byte order mark" in done.stderr) == (0, True)
    assert block.remove(file.read_bytes()) == b"\xef\xbb\xbf" + CONTENT


def test_rules_are_printed() -> None:
    """Without a file the rules go to standard output."""
    done = wsfront("htaccess")
    assert (done.returncode, done.stderr) == (0, "")
    assert "RewriteEngine On" in done.stdout
