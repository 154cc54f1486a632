"""The one exception of this package."""


class ExportError(Exception):
    """Nothing was published; the message is one sentence that says why and what to do."""
