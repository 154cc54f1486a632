"""Telling somebody's server about an alert: one signed POST to an address that is allowed.

The address is checked when the connection is made, on what the name resolves to then, so that no
name can lead to an address inside (rebinding); redirects are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vitrine_server.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNATURE = "X-Vitrine-Signature"
TIMEOUT_S = 5.0


class NotDelivered(Exception):
    """The message was not accepted; the reason is one sentence."""


def check_url(url: str) -> None:
    """Raises Invalid for what cannot be a webhook's address."""
    parts = urlsplit(url)
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None:
        raise Invalid(
            "The webhook is not a URL that can be called.",
            field="webhook",
            accepted="https://host/path, or http, without a user name",
        )


def signature(secret: str, body: bytes, moment: int) -> str:
    """`t=<seconds>,v1=<hex>`: HMAC-SHA256 of "<seconds>.<body>" under the watch's secret."""
    digest = hmac.new(secret.encode(), b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def post(url: str, body: bytes, *, secret: str, networks: Sequence[str]) -> None:
    """Send JSON; blocking, for at most about TIMEOUT_S a step. Raises NotDelivered."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "vitrine",
        SIGNATURE: signature(secret, body, int(time.time())),
    }
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.sock = _connect(host, port, networks, encrypted=parts.scheme == "https")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise NotDelivered(f"{host} cannot be reached: {error}.") from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise NotDelivered(f"{host} answered {status}.")


def _connect(host: str, port: int, networks: Sequence[str], *, encrypted: bool) -> socket.socket:
    """A connection to an allowed address of the host. Raises NotDelivered, OSError."""
    allowed = [ipaddress.ip_network(network) for network in networks]
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
        # ::ffff:10.0.0.1 is 10.0.0.1
        plain = getattr(found, "ipv4_mapped", None) or found
        if any(plain.version == each.version and plain in each for each in allowed):
            plainly = socket.create_connection((str(plain), port), TIMEOUT_S)
            if not encrypted:
                return plainly
            try:
                return ssl.create_default_context().wrap_socket(plainly, server_hostname=host)
            except BaseException:
                plainly.close()
                raise
    raise NotDelivered(f"{host} has no address in VITRINE_WEBHOOK_NETWORKS.")
