"""A fabric's traffic as it goes: rates from samples of its status, and how a terminal shows them."""

from vnet.top.rates import ORDERS, History, Rate, Total
from vnet.top.screen import line, screen

__all__ = ["ORDERS", "History", "Rate", "Total", "line", "screen"]
