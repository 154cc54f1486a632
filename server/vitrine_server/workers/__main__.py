"""One process of a server with workers: `python -m vitrine_server.workers ROLE FOLDER [NUMBER]`.

The supervisor starts it (`processes`): ROLE is `owner`, or `front` with its number.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vitrine_server.api_keys import KeysUnusable
from vitrine_server.config import ConfigError, load_settings
from vitrine_server.manifest import ManifestError
from vitrine_server.workers import front, owner


def main() -> None:
    role, folder, *number = sys.argv[1:]
    try:
        if role == "owner":
            owner.run(load_settings(), Path(folder))
        else:
            front.run(load_settings(), Path(folder), int(number[0]))
    except (ConfigError, KeysUnusable, ManifestError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
