"""The JSON Schema of topology files, for editors and other programs; from the same table as all else."""

from __future__ import annotations

from typing import Any

from vnet.topology.table import TOPOLOGY


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12.

    It says what the reader says of single places. What places have to do with one another
    (references, addresses in subnets, clashes) only the reader checks.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vnet topology",
        "description": "A virtual network fabric: its networks, guests, uplinks, switches and links.",
        **TOPOLOGY.schema(),
    }
