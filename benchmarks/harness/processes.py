"""CPU time and memory of a server's processes, found by the port that it listens on."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil

from harness.wire import authorization

ROLES = ("sidecar", "triton", "supervisor")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the process began, and resident bytes."""

    cpu_s: float
    rss: int


@dataclass(frozen=True, slots=True)
class Window:
    """What the processes used between two looks. cores: CPU seconds a second, by role.

    others_cores: what everything else on the machine used, the hypervisor's share included.
    """

    wall_s: float
    cpu_s: dict[str, float]
    rss: dict[str, int]
    others_cores: float

    @property
    def cores(self) -> dict[str, float]:
        return {role: cpu / self.wall_s for role, cpu in self.cpu_s.items()}


class ServerProcesses:
    """The processes behind a URL on this machine, by role.

    The sidecar is whoever listens on the URL's port. Triton (with its Python backend) is among the
    children of the sidecar's parent, the supervisor. Raises SystemExit when nobody listens here.
    """

    def __init__(self, url: str) -> None:
        port = urlsplit(url).port or 80
        owners = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        }
        if not owners:
            raise SystemExit(f"No process of this machine listens on port {port}.")
        self._roots: dict[str, list[psutil.Process]] = {
            "sidecar": [psutil.Process(pid) for pid in sorted(owners)]
        }
        parent = self._roots["sidecar"][0].parent()
        if parent is not None and "vitrine" in " ".join(parent.cmdline()):
            self._roots["supervisor"] = [parent]
            self._roots["triton"] = [
                child
                for child in parent.children(recursive=True)
                if child.name().startswith(("tritonserver", "triton_python_b"))
            ]

    def usage(self) -> dict[str, Usage]:
        """By role; a process that has ended counts no more."""
        found = {}
        for role, processes in self._roots.items():
            usages = [_usage(process) for process in processes]
            found[role] = Usage(sum(u.cpu_s for u in usages), sum(u.rss for u in usages))
        found["generator"] = _usage(psutil.Process(os.getpid()))
        return found


class Stopwatch:
    """Uses of processes over a window."""

    def __init__(self, processes: ServerProcesses) -> None:
        self._processes = processes
        self._started = time.perf_counter()
        self._before = processes.usage()
        self._busy_before_s = _busy_s()

    def stop(self) -> Window:
        wall_s = time.perf_counter() - self._started
        busy_s = _busy_s() - self._busy_before_s
        after = self._processes.usage()
        cpu_s = {role: after[role].cpu_s - self._before[role].cpu_s for role in after}
        return Window(
            wall_s,
            cpu_s,
            {role: usage.rss for role, usage in after.items()},
            max(0.0, busy_s - sum(cpu_s.values())) / wall_s,
        )


def _busy_s() -> float:
    """CPU seconds that the machine has worked, or been kept from working, since it began."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def decode_cpu_s(url: str) -> float:
    """CPU seconds that the server has spent on decoding images, from its metrics."""
    with urlopen(Request(f"{url}/metrics", headers=authorization())) as answer:
        text = answer.read().decode()
    found = re.search(r"^vitrine_decode_cpu_seconds_total (\S+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{url} does not count the time of its decoder.")
    return float(found[1])


def _usage(process: psutil.Process) -> Usage:
    try:
        times = process.cpu_times()
        return Usage(times.user + times.system, process.memory_info().rss)
    except psutil.NoSuchProcess:
        return Usage(0.0, 0)
