"""API keys: who calls, what they may do, and how often. Only hashes are kept.

A file of keys (VITRINE_API_KEYS) has a line for each:

    # name   scope  sha256 of the key, and calls a second where they are limited
    shop     read   9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08   50
    nightly  write  60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752

`python -m vitrine_server.api_keys NAME SCOPE [RATE]` makes a key: the key itself goes to standard
error, to be shown once, and its line to standard output. A key has 256 random bits, so a plain hash
is enough: there is no dictionary to try (OWASP, Password Storage Cheat Sheet, is about passwords).
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import math
import re
import secrets
import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import structlog

from vitrine_server.errors import Forbidden, Overloaded, Unauthorised

if TYPE_CHECKING:
    from pathlib import Path

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each allows what those before it allow

_PREFIX = "vtr_"
_LINE = re.compile(r"([\w.-]{1,64})\s+(read|write|admin)\s+([0-9a-f]{64})(?:\s+([0-9.]+))?")
_CHECK_INTERVAL_S = 2.0
_SCHEME = b"bearer "

_log = structlog.get_logger(__name__)


class KeysUnusable(Exception):
    """The file of keys cannot be read; the message names the file and the line."""


@dataclass(slots=True)
class Caller:
    """Whoever sent a request: a key of the file, or anybody where no keys are in use.

    rate_per_s: calls a second, an image of a batch counts as one; None: no limit.
    """

    name: str
    scope: Scope
    rate_per_s: float | None = None
    spent: int = field(default=0, repr=False)  # calls that `Keys.take_spent` has not told of
    _tokens: float = field(default=math.inf, repr=False)
    _refilled: float = field(default_factory=time.monotonic, repr=False)

    def require(self, scope: Scope) -> None:
        """Raises Forbidden unless the caller may make a call of this scope."""
        if SCOPES.index(self.scope) < SCOPES.index(scope):
            raise Forbidden(
                f"The key {self.name!r} has scope {self.scope}.",
                field="Authorization",
                accepted=f"a key with scope {' or '.join(SCOPES[SCOPES.index(scope) :])}",
            )

    def charge(self, calls: int) -> None:
        """Count calls against the rate (token bucket of two seconds). Raises Overloaded.

        A batch may overdraw the bucket; the debt is paid by waiting, so no batch is too large.
        """
        if self.rate_per_s is None or calls <= 0:
            return
        if self._earn(self.rate_per_s) < 1:
            raise Overloaded(
                f"The key {self.name!r} has used up its rate.",
                code="rate_limited",
                accepted=f"at most {self.rate_per_s:g} calls a second, an image counts as a call",
                retry_after_s=(1 - self._tokens) / self.rate_per_s,
            )
        self._tokens -= calls
        self.spent += calls

    def settle(self, calls: int) -> float:
        """Count calls that another process has let through; what is left of the bucket."""
        rate_per_s = self.rate_per_s
        if rate_per_s is None:
            return math.inf
        self._tokens = self._earn(rate_per_s) - calls
        return self._tokens

    def correct(self, left: float) -> None:
        """What is left of the bucket, as the process says that counts for all."""
        self._tokens, self._refilled = left - self.spent, time.monotonic()

    def _earn(self, rate_per_s: float) -> float:
        now = time.monotonic()
        earned = (now - self._refilled) * rate_per_s
        self._tokens = min(max(1.0, 2 * rate_per_s), self._tokens + earned)
        self._refilled = now
        return self._tokens

    def inherit(self, before: Caller) -> None:
        """Go on where the same key was before the file was read again."""
        self._tokens, self._refilled, self.spent = before._tokens, before._refilled, before.spent


ANYBODY = Caller("anybody", "admin")
_caller: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)


def caller() -> Caller:
    """Who sent the request that is being answered."""
    return _caller.get()


def enter(who: Caller) -> None:
    """Say who sent the request that this task answers."""
    _caller.set(who)


class Keys:
    """The keys of a file, read again when the file changes: a removed key stops working."""

    def __init__(self, file: Path) -> None:
        """Raises KeysUnusable."""
        self._file = file
        self._known: list[tuple[bytes, Caller]] = []
        self._stamp = self._stamp_of_file()
        self._read()
        self._checked = time.monotonic()

    def authenticate(self, authorization: bytes | None) -> Caller:
        """The caller that an Authorization header names. Raises Unauthorised."""
        if time.monotonic() - self._checked > _CHECK_INTERVAL_S:
            self._checked = time.monotonic()
            self._read_if_changed()
        given = authorization or b""
        if given[: len(_SCHEME)].lower() == _SCHEME:
            digest = hashlib.sha256(given[len(_SCHEME) :].strip()).digest()
            found = None
            for known, who in self._known:  # all of them: the time says nothing about which
                if hmac.compare_digest(known, digest):
                    found = who
            if found is not None:
                return found
        raise Unauthorised(
            "The API key is not known." if given else "This server asks for an API key.",
            field="Authorization",
            accepted="Authorization: Bearer <an API key of this server>",
        )

    def take_spent(self) -> dict[str, int]:
        """Calls by key (hash, hex) since the last time, of the keys with a rate."""
        spent = {digest.hex(): who.spent for digest, who in self._known if who.spent}
        for _, who in self._known:
            who.spent = 0
        return spent

    def settle(self, spent: dict[str, int]) -> dict[str, float]:
        """Count what another process let through; by key what is left."""
        known = {digest.hex(): who for digest, who in self._known}
        return {digest: known[digest].settle(n) for digest, n in spent.items() if digest in known}

    def correct(self, left: dict[str, float]) -> None:
        """Go by what `settle` of the process that counts for all has answered."""
        for digest, who in self._known:
            if digest.hex() in left:
                who.correct(left[digest.hex()])

    def _read_if_changed(self) -> None:
        try:
            stamp = self._stamp_of_file()
            if stamp != self._stamp:
                self._read()
                self._stamp = stamp
                _log.info("API keys were read again", keys=len(self._known))
        except KeysUnusable as error:
            # A slip of the editor must not lock everybody out, nor let anybody in.
            _log.error("API keys stay as they were", reason=str(error))

    def _stamp_of_file(self) -> tuple[int, int, int]:
        try:
            status = self._file.stat()
        except OSError as error:
            raise KeysUnusable(f"{self._file}: {error.strerror}") from None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> None:
        try:
            lines = self._file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise KeysUnusable(f"{self._file}: {reason}") from None
        before = {digest: who for digest, who in self._known}
        known: list[tuple[bytes, Caller]] = []
        for number, line in enumerate(lines, start=1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            match = _LINE.fullmatch(text)
            if match is None or (match[4] and not float(match[4]) > 0):
                raise KeysUnusable(
                    f"{self._file}, line {number}: not `name scope sha256 [calls a second]`, "
                    f"where scope is one of {', '.join(SCOPES)}"
                )
            scope = next(each for each in SCOPES if each == match[2])
            rate = float(match[4]) if match[4] else None
            digest = bytes.fromhex(match[3])
            who = Caller(match[1], scope, rate)
            if (old := before.get(digest)) is not None and old.rate_per_s == rate:
                who.inherit(old)
            known.append((digest, who))
        if not known:
            raise KeysUnusable(f"{self._file} holds no key")
        if len({digest for digest, _ in known}) < len(known):
            raise KeysUnusable(f"{self._file} holds a key twice")
        self._known = known


def main() -> None:
    """Make a key and its line."""
    parser = argparse.ArgumentParser(prog="vitrine_server.api_keys", description="Make an API key.")
    parser.add_argument("name", help="who will use it, as logs show it")
    parser.add_argument("scope", choices=SCOPES)
    parser.add_argument("rate", nargs="?", type=float, help="calls a second; default: no limit")
    asked = parser.parse_args()
    key = _PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    line = f"{asked.name} {asked.scope} {digest}" + (f" {asked.rate:g}" if asked.rate else "")
    if _LINE.fullmatch(line) is None:
        parser.error("a name has 1 to 64 letters, digits, dots, dashes and underscores")
    print(f"The key, which is stored nowhere: {key}", file=sys.stderr)
    print(line)


if __name__ == "__main__":
    main()
