"""The one place that downloads: a pinned commit of a model hub's repository, into its cache."""

from __future__ import annotations

from pathlib import Path

from vitrine_export.errors import ExportError

# Weights as safetensors only: a pickle can run code when it is opened.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


def fetch(repository: str, commit: str) -> Path:
    """Folder of the snapshot, downloaded if the cache lacks it. Raises ExportError."""
    from huggingface_hub import snapshot_download  # slow to import, seldom needed
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(repository, revision=commit, allow_patterns=list(_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ExportError(
            f"{repository} cannot be downloaded ({type(error).__name__}): without a network, "
            "download it elsewhere and give its folder as ENCODER."
        ) from error
    return Path(folder)
