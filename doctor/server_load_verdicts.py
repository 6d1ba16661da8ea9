"""What follows from Apache's processes: whether workers and slots are left, and what else could run out."""

from collections.abc import Iterator

from .examination import Check, Examination, Outcome
from .findings import Finding
from .server_seen import Seen, Sizes

_NEARLY = 0.9
_FILES_OF_TUNNEL, _FILES_BESIDE = 3, 64
_DEBIAN_FILES = 8192  # what its apachectl asks for
_OTHER_THREADS = 2  # of each child: the main one and the listener
_FULL = ("AH00484", "AH00161", "AH00286", "AH10159")
_NO_SLOT = ("AH03490",)


def load(seen: Seen, found: Examination) -> None:
    """Add what is wrong with how much fits."""
    if seen.processes is None:
        return
    capacity = _capacity(seen)
    slots = _slots(seen) if capacity is None or capacity.id != "slots-exhausted" else None
    if capacity and capacity.entry.severity == "error" and slots:
        slots = None
    workers: Outcome = "good" if capacity is None else "bad" if capacity.entry.severity == "error" else "odd"
    found.checks.append(Check("workers", workers, _workers(seen)))
    count = len(seen.children)
    total = f"{count} {'child' if count == 1 else 'children'} in {seen.sizes.slots} slots"
    old = f", {seen.leaving} of them leaving" if seen.leaving else ""
    is_full = capacity is not None and capacity.id == "slots-exhausted"
    found.checks.append(Check("slots", "bad" if is_full else "odd" if slots else "good", total + old))
    found.findings += [each for each in (capacity, slots) if each]
    rest = list(_limits(seen))
    found.findings += rest
    if seen.has_tunnels:
        files = seen.processes.files
        words = f"{files if files is not None else 'any number of'} files, {seen.ports or '?'} local ports"
        found.checks.append(Check("limits", "odd" if rest else "good", words))
    found.checks.append(Check("reloads", "good", _reloads(seen)))


def _capacity(seen: Seen) -> Finding | None:
    """Return the one thing that keeps handshakes waiting, or soon will."""
    assert seen.processes  # noqa: S101 (asked by load)
    sizes = seen.sizes
    silent = seen.answer.answers is False
    used = f"{seen.tunnels} sockets, {sizes.workers} workers (MaxRequestWorkers)"
    symptoms = ("a request on loopback got no answer within two seconds",) if silent else ()
    has_no_slot = seen.leaving and len(seen.children) >= sizes.slots
    if has_no_slot and (silent or seen.log.has(*_NO_SLOT)):
        return _finding(
            seen,
            "slots-exhausted",
            f"{seen.leaving} of {sizes.slots} slots are held by children that leave",
            symptoms,
            _more_slots(sizes),
        )
    if silent:
        if seen.tunnels >= sizes.workers * _NEARLY or seen.log.has(*_FULL):
            return _finding(seen, "workers-exhausted", used, symptoms, _twice(sizes))
        return _finding(seen, "server-silent", used, symptoms)
    busy = seen.answer.busy
    if (busy is not None and busy - 1 >= sizes.workers * _NEARLY) or seen.tunnels >= sizes.workers * _NEARLY:
        words = used if busy is None else f"{busy} of {sizes.workers} workers at work"
        return _finding(seen, "workers-few", words, (), _twice(sizes))
    if seen.log.has(*_FULL):
        return _finding(
            seen, "workers-were-exhausted", f"MaxRequestWorkers {sizes.workers}", (), _twice(sizes)
        )
    return None


def _slots(seen: Seen) -> Finding | None:
    """Return what a reload would do, where sockets pass at all."""
    sizes = seen.sizes
    if not seen.has_tunnels:
        return None
    numbers = f"ServerLimit {sizes.slots}, {sizes.children} for MaxRequestWorkers {sizes.workers}"
    if sizes.slots <= sizes.children and (sizes.file or seen.log.has(*_NO_SLOT)):
        symptoms = ("the scoreboard was full (AH03490)",) if seen.log.has(*_NO_SLOT) else ()
        return _finding(seen, "slots-no-reserve", numbers, symptoms, _more_slots(sizes))
    if seen.leaving and sizes.slots - seen.leaving < sizes.children:
        words = f"{numbers}, {seen.leaving} held by children that leave"
        return _finding(seen, "slots-few", words, (), _more_slots(sizes))
    return None


def _limits(seen: Seen) -> Iterator[Finding]:
    assert seen.processes  # noqa: S101 (asked by load)
    sizes, running = seen.sizes, seen.processes
    if running.is_replaced:
        yield Finding("apache-not-restarted", str(seen.apache.binary), 0, f"process {seen.apache.main}")
    if seen.log.has("AH00501", "AH00506"):
        yield _finding(
            seen, "limits-need-restart", f"ServerLimit {sizes.slots}, ThreadsPerChild {sizes.threads}", ()
        )
    if not seen.has_tunnels:
        return
    files = sizes.threads * _FILES_OF_TUNNEL + _FILES_BESIDE
    if running.files is not None and running.files < files:
        words = f"{running.files}, and a full child takes {files}"
        instead = f"APACHE_ULIMIT_MAX_FILES='ulimit -n {max(_DEBIAN_FILES, 2 * files)}'"
        yield Finding("files-limit", "/etc/apache2/envvars", 0, words, instead=instead)
    tasks = sizes.workers + sizes.slots * _OTHER_THREADS + 1
    if running.tasks is not None and running.tasks < tasks:
        words = f"{running.tasks}, and all children take {tasks}"
        yield Finding("tasks-limit", "apache2.service", 0, words, instead=f"[Service]\nTasksMax={2 * tasks}")
    for address, count in seen.connections.items():
        if seen.ports and not address.startswith("unix:") and count >= seen.ports * _NEARLY:
            yield Finding("ports-few", address, 0, f"{count} of {seen.ports} are in use")


def _finding(seen: Seen, name: str, words: str, symptoms: tuple[str, ...], instead: str = "") -> Finding:
    place = (seen.sizes.file, seen.sizes.line) if seen.sizes.file else (seen.main_file, 0)
    return Finding(name, *place, words, instead=instead, symptoms=symptoms)


def _twice(sizes: Sizes) -> str:
    """Return the lines for twice as many workers, with slots for as many children once more after a reload."""
    workers = 2 * sizes.workers
    slots = max(sizes.slots, 2 * -(-workers // sizes.threads))
    return f"ServerLimit {slots}\nMaxRequestWorkers {workers}"


def _more_slots(sizes: Sizes) -> str:
    """Return the line for slots that three reloads may take."""
    return f"ServerLimit {max(sizes.slots, sizes.children) + 3 * sizes.children}"


def _workers(seen: Seen) -> str:
    if seen.answer.answers is False:
        return f"no answer on loopback; {seen.tunnels} sockets, {seen.sizes.workers} workers"
    if seen.answer.busy is not None:
        return f"{seen.answer.busy} of {seen.sizes.workers} at work, {seen.tunnels} connections to backends"
    return f"{seen.tunnels} connections to backends, {seen.sizes.workers} workers"


def _reloads(seen: Seen) -> str:
    last = max(seen.log.reloads, default=None)
    when = "none in the log since its start"
    if last is not None:
        minutes = max(0, int(seen.now.timestamp() - last) // 60)
        ago = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"  # noqa: PLR2004 (two hours)
        when = f"{len(seen.log.reloads)} in the log, the last {ago} ago"
    return "; ".join([*seen.system.reloaders, when])
