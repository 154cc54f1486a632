"""The families of designs; importing this package registers every subclass."""

from . import (
    containers,
    electronics,
    furniture,
    generic,
    household,
    leisure,
    lighting,
    tools,
    wearables,
)

FAMILIES = (
    containers,
    electronics,
    furniture,
    generic,
    household,
    leisure,
    lighting,
    tools,
    wearables,
)
