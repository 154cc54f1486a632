"""The parts of one running server, as routes find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

    from vitrine_server.admission import Admission
    from vitrine_server.api_keys import Keys
    from vitrine_server.bodies import Budget
    from vitrine_server.catalogue import Catalogue
    from vitrine_server.compare import Comparer
    from vitrine_server.config import Settings
    from vitrine_server.desk import Desk
    from vitrine_server.encoder import Encoder
    from vitrine_server.galleries import Galleries
    from vitrine_server.http_server import Drain
    from vitrine_server.metrics import Metrics
    from vitrine_server.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Core:
    """What searching and storing needs: the parts of every process that serves HTTP."""

    settings: Settings
    catalogue: Galleries
    encoder: Encoder
    admission: Admission
    pipeline: Pipeline
    metrics: Metrics
    budget: Budget
    drain: Drain
    keys: Keys | None

    @property
    def max_body_bytes(self) -> int:
        return int(self.settings.max_body_mb * 1e6)


@dataclass(frozen=True, slots=True)
class Services(Core):
    """All parts, in the process that owns the collections."""

    catalogue: Catalogue
    comparer: Comparer
    desk: Desk


def core(request: Request) -> Core:
    """The parts behind a request that any process may answer."""
    found: Core = request.app.state.services
    return found


def services(request: Request) -> Services:
    """The parts behind a request that is the owner's."""
    found: Services = request.app.state.services
    return found
