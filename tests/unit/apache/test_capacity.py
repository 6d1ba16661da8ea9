"""From connections and a machine to numbers: what is planned holds, and what is refused says how far it goes."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apache.capacity import SERVER_LIMIT_MAX, Demand, Plan, demand, plan, plan_for
from apache.description import parse
from apache.errors import TargetError
from apache.reasons import reasons
from apache.render import render
from apache.resources import MEASURED, TASKS_LIMIT
from apache.target import Target

LARGE = Target(memory=1 << 42)


def wanted(connections: int, *, unix: bool = False) -> Demand:
    """Return a demand by wss to one backend of ours."""
    return Demand(
        connections,
        connections,
        "" if unix else "127.0.0.1:8888",
        0 if unix else connections,
        connections,
        connections,
    )


def machines() -> st.SearchStrategy[Target]:
    """Return machines of all sizes."""
    return st.builds(
        Target,
        memory=st.integers(1 << 26, 1 << 44),
        cores=st.integers(1, 256),
        reloads=st.integers(0, 50),
        http_reserve=st.integers(1, 10_000),
        mpm=st.sampled_from(["event", "worker"]),
    )


@given(st.integers(1, 10_000_000), machines(), st.booleans())
@example(connections=1, target=Target(), unix=False)
@example(connections=1000, target=Target(), unix=False)
@example(connections=10_000, target=Target(), unix=True)
def test_plan_holds_what_it_says(connections: int, target: Target, unix: bool) -> None:  # noqa: FBT001 (drawn)
    """All sockets and the reserve fit, after as many reloads as a socket may outlive; Apache takes the numbers without a word."""
    try:
        made = plan_for(wanted(connections, unix=unix), target)
    except TargetError as error:
        assert "connections are more than this machine can hold" in str(error)  # noqa: PT017 (either outcome is right)
        return
    children = math.ceil((connections + target.http_reserve) / made.threads_per_child)
    # Below MinSpareThreads Apache starts a child only while busy ones of all generations are fewer than MaxRequestWorkers.
    assert made.max_request_workers >= connections + target.http_reserve + made.min_spare_threads
    assert made.server_limit > children * (1 + target.reloads)
    assert made.server_limit <= SERVER_LIMIT_MAX
    assert made.max_request_workers % made.threads_per_child == 0  # AH00513
    assert made.max_request_workers <= made.server_limit * made.threads_per_child  # AH00515
    assert 1 <= made.start_servers <= made.children
    assert made.min_spare_threads < made.max_spare_threads <= made.max_request_workers
    assert made.limit_nofile >= made.threads_per_child * MEASURED.descriptors_per_tunnel
    assert made.backend_limit_nofile > connections + target.http_reserve
    assert made.tasks_max > made.server_limit * made.threads_per_child
    assert made.tasks <= TASKS_LIMIT
    assert made.memory.total_mib <= made.memory.has_mib == max(0, target.memory - target.memory_reserve) >> 20
    assert made.most >= connections
    assert made.most == min(limit.most for limit in made.limits)
    assert all(paragraph.isprintable() for paragraph in reasons(made, target).values())


@given(machines(), st.booleans())
def test_refusal_names_the_most(target: Target, unix: bool) -> None:  # noqa: FBT001 (drawn)
    """The number that a refusal names is accepted, and one more is not."""
    with pytest.raises(TargetError) as caught:
        plan_for(wanted(1 << 32, unix=unix), target)
    most = int(str(caught.value).rpartition(" ")[2])
    if most:
        assert plan_for(wanted(most, unix=unix), target).most == most
    with pytest.raises(TargetError):
        plan_for(wanted(most + 1, unix=unix), target)


@pytest.mark.parametrize(
    ("target", "unix", "first", "remedy"),
    [
        (Target(), False, "MiB of memory", "more memory"),
        (LARGE, False, "local ports to 127.0.0.1:8888", "unix socket"),
        (LARGE.model_copy(update={"reloads": 50}), True, "slots (ServerLimit)", "fewer reloads than 50"),
        (LARGE.model_copy(update={"reloads": 0}), True, "threads", "second machine"),
    ],
)
def test_what_runs_out_first(target: Target, unix: bool, first: str, remedy: str) -> None:  # noqa: FBT001 (a column)
    """A refusal names what runs out first, and what helps."""
    with pytest.raises(TargetError) as caught:
        plan_for(wanted(4_000_000, unix=unix), target)
    assert f" {first}, of " in str(caught.value)
    assert remedy in str(caught.value)
    assert plan_for(wanted(1, unix=unix), target).limits[0].name == first


def test_plan_adds_up_all_sites() -> None:
    """One server carries the sockets of all its names; each kind is counted by itself."""
    sites = [
        parse("websockets: [{connections: 100}]", "a"),
        parse("tls: {mode: none}\nwebsockets: [{connections: 20, backend: 'unix:/run/b'}]", "a"),
        parse("websockets: [{connections: 7}, {path: /c/, connections: 9, backend: ['127.0.0.2:1', '127.0.0.3:2']}]", "a"),
    ]  # fmt: skip
    found = demand(sites)
    assert (found.connections, found.encrypted, found.backend, found.backend_here) == (136, 116, 127, 127)
    assert (found.busiest, found.busiest_connections) == ("127.0.0.1:8888", 107)
    assert found.listening == {8888, 1, 2}
    assert plan(sites, Target()).connections == 136


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 1000), st.integers(0, 8))
def test_children_count_where_no_backend_does(counted: int, others: int, reserve: int, reloads: int) -> None:
    """All that Apache counts fit, with every other socket and page there too; what full children keep free is never taken for spare."""
    number = counted + others
    asked = Demand(number, number, "", 0, number, number, counted=counted)
    made = plan_for(asked, LARGE.model_copy(update={"http_reserve": reserve, "reloads": reloads}))
    assert counted <= made.seats * made.children <= made.max_request_workers - others - reserve
    assert made.start_servers == made.children
    assert (made.children - 1) * (
        made.threads_per_child - made.seats
    ) < made.min_spare_threads + made.children
    assert str(counted) in reasons(made, LARGE)["Children"]


def test_a_backend_elsewhere_takes_no_memory_here() -> None:
    """The backend of a hop has its files counted, and its memory on its own machine."""
    there = "hop: {fronts: [10.0.0.1]}\nwebsockets: [{connections: 50, backend: '10.0.0.2:8888'}]"
    found = demand([parse(there, "a")])
    assert (found.backend, found.backend_here) == (50, 0)
    assert plan_for(found, Target()).memory.backend_mib == 0


def test_a_small_machine_may_hold_nothing() -> None:
    """Where not even one connection fits, the refusal says 0."""
    with pytest.raises(TargetError, match=r"goes up to 0$"):
        plan_for(wanted(1), Target(memory=1 << 26))


def sysctls(connections: int, **facts: int) -> dict[str, str]:
    """Return the kernel's settings for a demand on a large machine."""
    return plan_for(wanted(connections), LARGE.model_copy(update=facts)).sysctls


def test_the_kernel_is_left_alone_where_it_suffices() -> None:
    """A plain server needs no sysctl."""
    assert sysctls(1000) == {}


def test_the_kernel_is_raised_where_it_does_not() -> None:
    """Each setting appears when the plan is above what the kernel has by itself."""
    assert sysctls(1000, cores=64)["net.core.somaxconn"] == str(
        plan_for(wanted(1000), Target(cores=64)).listen_backlog
    )
    assert sysctls(20_000) == {"kernel.pid_max": "4194304"}
    assert sysctls(40_000)["net.ipv4.ip_local_port_range"] == "20480 65535"
    assert plan_for(wanted(8000), Target(memory=4 << 30)).sysctls == {}
    assert plan_for(wanted(6000, unix=True), Target(memory=2 << 30)).sysctls == {
        "kernel.threads-max": "17408"
    }
    many = plan_for(wanted(2_000_000, unix=True), LARGE.model_copy(update={"reloads": 0}))
    assert int(many.sysctls["fs.nr_open"]) == many.backend_limit_nofile > 2_000_000


def test_a_backend_keeps_its_port() -> None:
    """A port of a backend inside the widened range is given to nobody else."""
    there = Demand(40_000, 40_000, "127.0.0.1:40000", 40_000, 40_000, 40_000, frozenset({40_000, 50_000, 80}))
    assert plan_for(there, LARGE).sysctls["net.ipv4.ip_local_reserved_ports"] == "40000,50000"


def test_worse_reloads_cost_slots_and_nothing_else_at_work() -> None:
    """The reserve is reloads x active children."""
    few, many = (plan_for(wanted(1000), Target(reloads=reloads)) for reloads in (1, 10))
    assert many.server_limit - few.server_limit == 9 * few.children
    assert few.max_request_workers == many.max_request_workers


def test_prefork_is_told_its_price() -> None:
    """On prefork a whole process for each socket is counted in memory, and php-fpm named."""
    with pytest.raises(
        TargetError, match=r"mpm_prefork.* take \d+ MiB at the least, of 1792; run PHP by php-fpm"
    ):
        plan_for(wanted(1000), Target(mpm="prefork"))


def test_reasons_name_every_directive() -> None:
    """The words have each number with its directive."""
    made: Plan = plan_for(wanted(1000), Target())
    text = " ".join(reasons(made, Target()).values())
    for words in (
        f"ThreadsPerChild {made.threads_per_child}",
        f"ThreadLimit {made.threads_per_child}",
        f"ServerLimit {made.server_limit}",
        f"MaxRequestWorkers {made.max_request_workers}",
        f"{made.start_servers} children to begin with",
        f"MinSpareThreads {made.min_spare_threads}",
        f"MaxSpareThreads {made.max_spare_threads}",
        "MaxConnectionsPerChild 0",
        "ThreadStackSize",
        f"ListenBacklog {made.listen_backlog}",
        f"LimitNOFILE {made.limit_nofile}",
        f"TasksMax {made.tasks_max}",
        MEASURED.date,
    ):
        assert words in text, words


def test_processes_of_their_own_cost_memory_and_files() -> None:
    """A backend that gives each connection a process takes more of the machine, and its unit may open what the plan says."""
    text = "server_name: chat.example.org\nworkers: %s\nwebsockets: [{connections: 400}]\n"
    shared, forked = (parse(text % word, "x") for word in ("1", "forked"))
    one, each = (plan([site], Target()) for site in (shared, forked))
    assert each.memory.backend_mib > 5 * one.memory.backend_mib
    for site, made in ((shared, one), (forked, each)):
        unit = render([site], Target())["etc/systemd/system/wsfront-backend.service"]
        assert f"LimitNOFILE={made.backend_limit_nofile}\n" in unit
