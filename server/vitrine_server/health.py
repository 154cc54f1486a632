"""How the supervisor asks Triton and the sidecar for their health, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from vitrine_server.triton_process import dead_stub

# A host and a port, or a Unix socket.
Address: TypeAlias = "tuple[str, int] | Path"

_TIMEOUT_S = 2.0
STUCK_S = 30.0


async def get(address: Address, path: str) -> tuple[int, bytes]:
    """Status and body of a GET. Raises OSError, TimeoutError or ValueError when there is none."""

    async def exchange() -> bytes:
        if isinstance(address, Path):
            reader, writer = await asyncio.open_unix_connection(str(address))
        else:
            reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            return await reader.read(-1)
        finally:
            writer.close()

    answer = await asyncio.wait_for(exchange(), _TIMEOUT_S)
    head, _, body = answer.partition(b"\r\n\r\n")
    match = re.match(rb"HTTP/1\.\d (\d{3})", head)
    if match is None:
        raise ValueError("not an HTTP answer")
    return int(match[1]), body


async def _answers(address: Address, path: str) -> bool:
    with suppress(OSError, ValueError, asyncio.TimeoutError):
        status, _ = await get(address, path)
        return status == 200
    return False


class SidecarHealth:
    """The sidecar's own `/readyz` and `/healthz`."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def ready(self) -> bool:
        return await _answers(self._address, "/readyz")

    async def alive(self) -> bool:
        return await _answers(self._address, "/healthz")

    async def broken(self, pid: int) -> str | None:
        return None  # its event loop answers or it does not; there is no state between


class TritonHealth:
    """Triton's health, and whether its models still answer: it does not notice when they stop."""

    def __init__(
        self, *, host: str, http_port: int, metrics_port: int, stuck_s: float = STUCK_S
    ) -> None:
        self._address = (host, http_port)
        self._metrics = (host, metrics_port)
        self._stuck_s = stuck_s
        self._pid = 0
        self._succeeded = 0.0
        self._failed = 0.0
        self._failing_since: float | None = None

    async def ready(self) -> bool:
        return await _answers(self._address, "/v2/health/ready")

    async def alive(self) -> bool:
        return await _answers(self._address, "/v2/health/live")

    async def broken(self, pid: int) -> str | None:
        if dead_stub(pid):
            return "has lost the process of a model"
        with suppress(OSError, ValueError, asyncio.TimeoutError):
            _, text = await get(self._metrics, "/metrics")
            return self._stuck(pid, text.decode(errors="replace"), now=time.monotonic())
        return None

    def _stuck(self, pid: int, metrics: str, *, now: float) -> str | None:
        """Requests fail or wait for a long time and none succeeds: overload lets some through."""
        succeeded = _total(metrics, "nv_inference_request_success")
        failed = _total(metrics, "nv_inference_request_failure")
        if pid != self._pid or succeeded != self._succeeded:
            self._failing_since = None
        elif failed != self._failed or _total(metrics, "nv_inference_pending_request_count") > 0:
            self._failing_since = self._failing_since or now
            if now - self._failing_since > self._stuck_s:
                return f"has answered no request for {self._stuck_s:.0f} s"
        self._pid, self._succeeded, self._failed = pid, succeeded, failed
        return None


def _total(metrics: str, name: str) -> float:
    """Sum of a metric over its labels, in Prometheus' text format."""
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", metrics, re.MULTILINE))
