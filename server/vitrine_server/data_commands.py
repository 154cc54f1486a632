"""`vitrine-data`: backup, restore and re-embedding on the data folder of this machine.

Backups and the long part of a re-embedding run beside a server; what replaces a collection's files
needs the folder for itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vitrine_server import backup, images, spaces
from vitrine_server import manifest as manifests
from vitrine_server.catalogue import FOLDER, check_name, own
from vitrine_server.config import ConfigError, load_settings
from vitrine_server.encoder import TritonEncoder
from vitrine_server.errors import CollectionNotFound, Conflict, VitrineError
from vitrine_server.records import EncoderIdentity
from vitrine_server.reembed import Reembedding
from vitrine_server.store import FILE_NAME, DamagedStore, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vitrine_server.cleanup import Step
    from vitrine_server.config import Settings

NOT_SWITCHED = 3  # exit status


def main() -> int:
    """Entry point of `vitrine-data`."""
    parser = argparse.ArgumentParser(
        prog="vitrine-data",
        description="Back up, restore and re-embed collections.",
        epilog="Settings are VITRINE_* environment variables or vitrine.toml.",
    )
    commands = parser.add_subparsers(required=True, dest="command")
    save = commands.add_parser("backup", help="write a collection to one file, also while served")
    save.add_argument("collection")
    save.add_argument("file", type=Path)
    load = commands.add_parser("restore", help="make a collection of a file; the server is stopped")
    load.add_argument("file", type=Path)
    load.add_argument("collection")
    load.add_argument("--replace", action="store_true", help="replace one of that name")
    embed = commands.add_parser(
        "reembed",
        help="embed the stored images with the encoder that VITRINE_TRITON_* and "
        "VITRINE_MODEL_REPOSITORY name, also while served; switch when no server runs",
    )
    embed.add_argument("collection")
    options = parser.parse_args()
    try:
        settings = load_settings()
        check_name(options.collection)
        home = settings.data / FOLDER / options.collection
        if options.command == "backup":
            return _backup(settings, home, options.file)
        if options.command == "restore":
            return _restore(settings, home, options.file, replace=options.replace)
        return asyncio.run(_reembed(settings, home))
    except VitrineError as error:
        accepted = f" Accepted: {error.accepted}." if error.accepted else ""
        print(f"vitrine-data: {error.detail}{accepted}", file=sys.stderr)
    except (ConfigError, DamagedStore, manifests.ManifestError) as error:
        print(f"vitrine-data: {error}", file=sys.stderr)
    return 1


@contextmanager
def _owned(data: Path) -> Iterator[None]:
    """The data folder for this process alone. Raises ConfigError while a server runs."""
    lock = own(data)
    try:
        yield
    finally:
        os.close(lock)


def _backup(settings: Settings, home: Path, archive: Path) -> int:
    _check_exists(home)
    with suppress(ConfigError), _owned(settings.data):
        # no server has looked at these files since the last one ended: check its log
        Store(spaces.active(home) / FILE_NAME).close()
    manifest = backup.write_archive(home, archive)
    print(
        f"{archive}: {manifest.count} items and {manifest.originals} images of "
        f"{manifest.collection!r}, up to write {manifest.sequence}"
    )
    return 0


def _restore(settings: Settings, home: Path, archive: Path, *, replace: bool) -> int:
    home.parent.mkdir(parents=True, exist_ok=True)
    with _owned(settings.data):
        if home.exists() and not replace:
            raise Conflict(
                f"There is a collection {home.name!r} already.",
                field="collection",
                accepted="another name, or --replace",
            )
        restored = backup.prepare_restore(home, archive)
        restored.publish()
        spaces.collect(home)
    print(f"{home.name}: {restored.manifest.count} items of encoder {restored.manifest.encoder!r}")
    return 0


async def _reembed(settings: Settings, home: Path) -> int:
    _check_exists(home)
    published = manifests.load(settings.encoder_folder)
    encoder = TritonEncoder(
        address=f"{settings.triton_host}:{settings.triton_grpc_port}",
        manifest=published,
        max_batch=settings.encoder_batch,
        concurrency=settings.encoder_calls,
        shared_memory=False,
        observe_batch=lambda _: None,
    )
    try:
        await encoder.check()
        loop = asyncio.get_running_loop()

        def encode(batch: list[bytes]) -> list[NDArray[np.float32]]:
            encoding = _encoded(encoder, batch, work.settings.cleanup)
            return asyncio.run_coroutine_threadsafe(encoding, loop).result()

        info = published.encoder
        identity = EncoderIdentity(info.name, info.fingerprint, info.dimension)
        work = Reembedding(home, identity, encode)
        try:
            while await asyncio.to_thread(work.catch_up, _show):
                pass
            print(file=sys.stderr)
            return await asyncio.to_thread(_switch, settings, work, home.name)
        finally:
            work.close()
    finally:
        await encoder.close()


def _switch(settings: Settings, work: Reembedding, name: str) -> int:
    try:
        with _owned(settings.data):
            while work.catch_up():
                pass
            work.finish()
    except ConfigError:
        print(
            f"{name}: every image is embedded. A server runs: stop it, repeat this command (it "
            "embeds what came since and switches), and start the server with the new encoder."
        )
        return NOT_SWITCHED
    print(f"{name}: switched to the new encoder")
    return 0


async def _encoded(
    encoder: TritonEncoder, batch: list[bytes], steps: Sequence[Step]
) -> list[NDArray[np.float32]]:
    """Vectors (D,) of images as they were sent, cleaned up as their collection has it."""
    preprocessing = encoder.info.preprocessing

    async def one(image: bytes) -> NDArray[np.float32]:
        pixels = await asyncio.to_thread(images.decode, image, preprocessing, steps=steps)
        return (await encoder.encode(pixels, deadline=time.monotonic() + 60)).embedding

    return list(await asyncio.gather(*map(one, batch)))


def _check_exists(home: Path) -> None:
    if not home.is_dir():
        raise CollectionNotFound(home.name)


def _show(done: int, total: int) -> None:
    print(f"\r{min(done, total)} of {total} items", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
