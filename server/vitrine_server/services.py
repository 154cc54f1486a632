"""The parts of one running sidecar, as routes find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

    from vitrine_server.admission import Admission
    from vitrine_server.bodies import Budget
    from vitrine_server.catalogue import Catalogue
    from vitrine_server.compare import Comparer
    from vitrine_server.config import Settings
    from vitrine_server.desk import Desk
    from vitrine_server.encoder import Encoder
    from vitrine_server.http_server import Drain
    from vitrine_server.metrics import Metrics
    from vitrine_server.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Services:
    """Made when the application starts, closed when it stops."""

    settings: Settings
    catalogue: Catalogue
    encoder: Encoder
    admission: Admission
    pipeline: Pipeline
    comparer: Comparer
    metrics: Metrics
    budget: Budget
    drain: Drain
    desk: Desk

    @property
    def max_body_bytes(self) -> int:
        return int(self.settings.max_body_mb * 1e6)


def services(request: Request) -> Services:
    """The running parts behind a request."""
    found: Services = request.app.state.services
    return found
