"""What both clients tell httpx, and what httpx's errors mean."""

from __future__ import annotations

import ipaddress
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypedDict

import httpx

from vitrine_client import errors

if TYPE_CHECKING:
    from vitrine_client import protocol

DEFAULT_URL = "http://127.0.0.1:8080"
# between two lines of an answer that comes bit by bit a server may work for minutes
UNHURRIED = {"connect": 5.0, "read": 600.0, "write": 30.0, "pool": 5.0}


class HttpOptions(TypedDict):
    """Keyword arguments of httpx.Client and httpx.AsyncClient."""

    base_url: httpx.URL
    timeout: httpx.Timeout
    limits: httpx.Limits
    headers: dict[str, str]
    trust_env: bool


def http_options(
    url: str,
    *,
    timeout_s: float,
    connect_timeout_s: float,
    max_connections: int,
    api_key: str | None,
) -> HttpOptions:
    """Raises ValueError when the URL is not one of a server, or the key cannot be in a header."""
    parsed = _parse(url)
    headers = {"user-agent": f"vitrine-client/{version('vitrine-client')}"}
    if key := api_key or os.environ.get("VITRINE_API_KEY"):
        if not key.isascii() or not key.isprintable():
            raise ValueError("api_key: holds characters that no key has")
        headers["authorization"] = f"Bearer {key}"
    return HttpOptions(
        base_url=parsed,
        # nobody waits for a connection of the pool longer than for an answer
        timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
        limits=httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        ),
        headers=headers,
        # a proxy of the environment cannot reach this machine's loopback
        trust_env=not _is_loopback(parsed.host),
    )


def build_request(
    http: httpx.Client | httpx.AsyncClient, call: protocol.Call[Any]
) -> httpx.Request:
    return http.build_request(
        call.method,
        call.path,
        params=dict(call.params),
        headers=dict(call.headers),
        content=call.content,
        files=call.files,
    )


def translate(error: httpx.RequestError, url: httpx.URL) -> errors.VitrineError:
    """The client's error for one of httpx."""
    address = str(url).rstrip("/")
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            reason = str(error) or "no answer in time"
            return errors.ServerUnreachable(
                f"No server answers at {address} ({reason}).", url=address
            )
        case httpx.TimeoutException():
            return errors.TimedOut(f"{address} did not answer in time.", url=address)
        case httpx.TransportError():
            return errors.ConnectionLost(
                f"The connection to {address} broke before the answer.", url=address
            )
        case _:
            return errors.UnexpectedAnswer(f"{address} did not answer as HTTP should: {error}.")


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url: {url!r} is not a URL ({error})") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"url: {url!r} is not a server's address, such as {DEFAULT_URL}")
    return parsed


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
