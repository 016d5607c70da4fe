"""`python -m topologies 'leaf-spine?spines=2' > lab.yaml`: a ready topology as a file to go on from.

Without a name: those that are made by parameters, and the parameters.
"""

from __future__ import annotations

import sys

import topologies
from nics.errors import BadInput
from nics.keys import Key
from topologies.builders import BUILDERS, COMMON


def _line(key: Key) -> str:
    default = "" if key.default is None else f"; default: {key.default}"
    return f"  {key.name:<9} {key.doc} [{key.type.expected}{default}]"


def main(names: list[str]) -> int:
    """Print topologies, or the list of builders."""
    try:
        for name in names:
            print(topologies.load(name.removeprefix("topology:")).to_yaml(), end="")
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    if not names:
        for builder in BUILDERS.values():
            print(f"{builder.name}: {builder.doc}")
            for key in builder.parameters:
                print(_line(key))
        print("all:")
        for key in COMMON:
            print(_line(key))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
