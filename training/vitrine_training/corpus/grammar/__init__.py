"""The families of designs; importing this package registers every subclass."""

from . import containers, furniture, generic, lighting, tools

FAMILIES = (containers, furniture, generic, lighting, tools)
