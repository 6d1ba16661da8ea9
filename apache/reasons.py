"""The arithmetic of a plan in words that a person can follow. Knows nothing of how they are printed."""

from .capacity import Limit, Plan
from .resources import MEASURED, OTHER_THREADS
from .target import Target


def reasons(plan: Plan, target: Target) -> dict[str, str]:
    """Return a paragraph for each step from connections to numbers, by its subject."""
    threads, children, memory = plan.threads_per_child, plan.children, plan.memory
    first, *others = plan.limits
    spare = plan.min_spare_threads
    return {
        "Workers": (
            f"A socket holds one worker for its whole life: {plan.connections}. Pages keep {plan.http_reserve}. {spare} more stand idle: "
            f"below MinSpareThreads {spare} Apache starts the next child, and only below MaxRequestWorkers. In {children} children of "
            f"ThreadsPerChild {threads} that is MaxRequestWorkers {plan.max_request_workers}."
        ),
        "Children": (
            (
                f"Few and from the start, of 25 to 250 threads, since each counts by itself the {plan.counted} sockets that no backend "
                f"counts, and takes {plan.seats}; a crash takes at most "
                if plan.counted
                else "About eight, of 25 to 250 threads: fewer and larger ones cost less memory and fewer slots, and a crash takes at most "
            )
            + f"{threads} sockets along. MaxSpareThreads {plan.max_spare_threads} and MaxConnectionsPerChild 0 end none under its sockets. "
            f"ThreadLimit {threads}: more would only cost shared memory."
        ),
        "Reloads": (
            f"After a reload every child that still holds a socket keeps its slot. For {plan.reloads} reloads under open sockets: "
            f"ServerLimit {plan.server_limit} = {children} children x (1 + {plan.reloads}) + 2. One reload more could leave no slot for a "
            "new child (AH03490), and nobody would get in until old sockets close. So our backend, which sees each reload in Apache's "
            f"status, sends the clients of older generations away over {plan.drain_window} s, and the oldest at once where there are more "
            f"than {plan.reloads}: a reload every {plan.reload_interval} s can go on for ever. A backend of another kind has the "
            f"{plan.reloads} reloads alone."
        ),
        "Start": (
            f"{plan.start_servers} children to begin with, at a start and after each reload: Apache then adds one a second for ten "
            f"seconds, and {target.cores} cores shake about {plan.handshakes_per_second} hands a second. ListenBacklog "
            f"{plan.listen_backlog}: two seconds of them, since up to 1.1 s pass until the first new child. If all clients are sent away, "
            f"over {plan.drain_seconds} s at the least, they find no queue."
        ),
        "Files": (
            f"LimitNOFILE {plan.limit_nofile} for Apache, for each child by itself: a tunnel takes {MEASURED.descriptors_per_tunnel}, "
            f"connections kept alive and logs come on top. The backend holds all its sockets in one process: {plan.backend_limit_nofile}."
        ),
        "Threads": (
            f"At most {plan.tasks} at once: the workers at work, one for each socket of older generations, {OTHER_THREADS} for each child. "
            f"TasksMax {plan.tasks_max} is above all slots full, so it never is what stops Apache. ThreadStackSize is left alone: its "
            "8 MiB are addresses, and a smaller one saved nothing."
        ),
        "Kernel": (
            "; ".join(f"{name} = {value}" for name, value in plan.sysctls.items()) + "."
            if plan.sysctls
            else "Its own settings suffice."
        ),
        "Memory": (
            f"{memory.total_mib} MiB with all sockets open and idle, of {memory.has_mib}: Apache {memory.apache_mib}, the backend "
            f"{memory.backend_mib}, the kernel {memory.kernel_mib}. Measured on {MEASURED.date}: a socket takes "
            f"{MEASURED.apache_connection_tls_kib} KiB of Apache by wss, {MEASURED.apache_connection_plain_kib} by ws, "
            f"{MEASURED.backend_connection_kib} of the backend ({MEASURED.backend_process_kib} in a process of its own), "
            f"{MEASURED.kernel_connection_kib} of the kernel; a worker "
            f"{MEASURED.apache_thread_kib} and {MEASURED.kernel_thread_kib}. Messages that slow readers leave behind come on top."
        ),
        "Limit": (
            f"This machine is full at {plan.most} connections, by {_limit(first)}: {first.remedy}. Then come "
            + ", ".join(f"{_limit(limit)} at {limit.most}" for limit in others)
            + "."
        ),
    }


def _limit(limit: Limit) -> str:
    return f"{limit.name} ({limit.takes} of {limit.has} taken)"
