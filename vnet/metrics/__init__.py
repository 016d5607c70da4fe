"""Figures of running fabrics for Prometheus: their text, and an endpoint that serves it."""

from vnet.metrics.text import CONTENT_TYPE, exposition

__all__ = ["CONTENT_TYPE", "exposition"]
