"""What happens beside the requests while a step runs: processes, Triton's queue, the GPU."""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from harness.processes import ServerProcesses, Stopwatch, Window
from harness.triton import MODEL

GPU_FIELDS = ("utilization.gpu", "memory.used", "power.draw")


@dataclass(frozen=True)
class Observation:
    """One step. batches: executed batches by size; queue_ms and compute_ms: means of a request in
    Triton; gpu: means of what nvidia-smi says, where there is one."""

    window: Window
    batches: dict[int, int] = field(default_factory=dict)
    queue_ms: float | None = None
    compute_ms: float | None = None
    gpu: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "cores": {role: round(cores, 3) for role, cores in self.window.cores.items()},
            "others_cores": round(self.window.others_cores, 3),
            "rss_mb": {role: round(rss / 1e6) for role, rss in self.window.rss.items()},
            "batches": self.batches,
            "queue_ms": self.queue_ms,
            "compute_ms": self.compute_ms,
            "gpu": self.gpu,
        }


class Observer:
    """Looks before and after each step. triton: host:port of its gRPC, or None."""

    def __init__(self, url: str, *, triton: str | None) -> None:
        self._processes = ServerProcesses(url)
        self._stub: Any = None
        if triton:
            self._stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(triton))

    def start(self) -> Running:
        return Running(Stopwatch(self._processes), self._statistics(), self)

    def _statistics(self) -> Any:
        if self._stub is None:
            return None
        request = service_pb2.ModelStatisticsRequest(name=MODEL)
        with suppress(grpc.RpcError):
            return self._stub.ModelStatistics(request, timeout=5).model_stats[0]
        return None


class Running:
    def __init__(self, stopwatch: Stopwatch, before: Any, observer: Observer) -> None:
        self._stopwatch = stopwatch
        self._before = before
        self._observer = observer
        self._gpu = _GpuWatch()

    def stop(self) -> Observation:
        window = self._stopwatch.stop()
        gpu = self._gpu.stop()
        after = self._observer._statistics()
        if self._before is None or after is None:
            return Observation(window, gpu=gpu)
        earlier = {
            entry.batch_size: entry.compute_infer.count for entry in self._before.batch_stats
        }
        batches = {
            int(entry.batch_size): int(entry.compute_infer.count - earlier.get(entry.batch_size, 0))
            for entry in after.batch_stats
        }
        return Observation(
            window,
            {size: count for size, count in batches.items() if count > 0},
            _mean_ms(self._before.inference_stats.queue, after.inference_stats.queue),
            _mean_ms(
                self._before.inference_stats.compute_infer, after.inference_stats.compute_infer
            ),
            gpu,
        )


class _GpuWatch:
    """Samples nvidia-smi twice a second; nothing where there is none."""

    def __init__(self) -> None:
        self._lines: list[list[float]] = []
        self._process: subprocess.Popen[str] | None = None
        command = ["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}"]
        command += ["--format=csv,noheader,nounits", "--loop-ms=500"]
        with suppress(OSError):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> dict[str, float]:
        if self._process is None:
            return {}
        self._process.terminate()
        self._process.wait()
        columns = list(zip(*self._lines, strict=True))
        return {
            name: sum(values) / len(values)
            for name, values in zip(GPU_FIELDS, columns, strict=False)
        }

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):  # "[N/A]" for what a device does not tell
                self._lines.append([float(value) for value in line.split(",")])


def _mean_ms(before: Any, after: Any) -> float | None:
    count = after.count - before.count
    return (after.ns - before.ns) / count / 1e6 if count else None
