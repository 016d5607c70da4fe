"""What is kept of a test that failed: the frames, what happened when, and the picture of the network."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import trio

CAPTURE, EVENTS, PICTURE, TOPOLOGY = "frames.pcapng", "events.txt", "topology.svg", "topology.yaml"


@attrs.define
class Artefacts:
    """One folder for one test. What is not kept is removed."""

    folder: Path
    kept: bool = False

    @property
    def capture(self) -> Path:
        """Where the frames go."""
        return self.folder / CAPTURE

    @contextmanager
    def events(self) -> Iterator[None]:
        """Write what the fabric says meanwhile, a line each, with the network's time since the beginning."""
        log = logging.getLogger("vnet")
        begun = trio.current_time()

        class Lines(logging.Handler):
            latest = begun

            def emit(self, record: logging.LogRecord) -> None:
                # A thread that is not of this run has no time of the network's: it is what it was lately.
                with suppress(RuntimeError):
                    self.latest = trio.current_time()
                file.write(f"{self.latest - begun:12.6f} {record.levelname:7} {record.getMessage()}\n")
                file.flush()

        level = log.level
        with (self.folder / EVENTS).open("w") as file:
            handler = Lines(logging.INFO)
            log.addHandler(handler)
            if log.getEffectiveLevel() > logging.INFO:
                log.setLevel(logging.INFO)
            try:
                yield
            finally:
                log.setLevel(level)
                log.removeHandler(handler)

    def draw(self, topology: object) -> None:
        """Write the picture and the file of a topology."""
        from vnet.errors import VnetError
        from vnet.graph import svg
        from vnet.topology import Topology

        assert isinstance(topology, Topology)
        try:
            (self.folder / PICTURE).write_text(svg(topology))
            (self.folder / TOPOLOGY).write_text(topology.to_yaml())
        except VnetError as error:
            # A NIC that is an object of the test has no words in a file.
            (self.folder / TOPOLOGY).write_text(f"# {error}\n")

    def keep(self) -> list[Path]:
        """Keep what there is; the paths."""
        self.kept = True
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def remove(self) -> None:
        """Remove it all."""
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)
