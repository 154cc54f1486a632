"""System shared memory between the sidecar and a Triton on the same machine.

Pixels are written where Triton reads them, so that they do not pass through protobuf and a socket.
The name is removed as soon as Triton has opened the region: whatever dies afterwards, the kernel
frees the memory with the last process that has it mapped.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_FOLDER = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for one batch: `array` (B, …) uint8 at `offset` bytes from the region's start."""

    array: NDArray[np.uint8]
    offset: int


class Region:
    """Slots of one shape in one piece of shared memory. Raises OSError when there is no room."""

    def __init__(self, shape: tuple[int, ...], *, slots: int) -> None:
        self.name = f"vitrine-pixels-{os.getpid()}-{secrets.token_hex(4)}"
        slot_bytes = int(np.prod(shape))
        self.size = slots * slot_bytes
        self._path = _FOLDER / self.name
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Reserved now: a full /dev/shm would otherwise end the process at the first write.
            os.posix_fallocate(descriptor, 0, self.size)
            memory = np.frombuffer(mmap.mmap(descriptor, self.size), np.uint8)
        except OSError:
            self.hide()
            raise
        finally:
            os.close(descriptor)
        arrays = memory.reshape(slots, *shape)
        self._free = deque(Slot(array, at * slot_bytes) for at, array in enumerate(arrays))

    @property
    def key(self) -> str:
        """The name for shm_open."""
        return f"/{self.name}"

    def hide(self) -> None:
        """Remove the name; who has the region open keeps it."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """A free slot; there must be one. Used on one event loop, so a plain queue is enough."""
        taken = self._free.popleft()
        try:
            yield taken
        finally:
            self._free.append(taken)
