"""A customer with httpx, who asks again when the network lets him down. He knows nothing of vnet either."""

from __future__ import annotations

import sys
from typing import Any

import httpx
import trio


class Customer:
    """Asks a shop, patiently."""

    def __init__(self, shop: str, *, patience: float = 30.0, timeout: float = 2.0) -> None:
        self.shop = shop
        self.patience = patience
        """Seconds after which it gives up."""
        self.timeout = timeout
        self.failures = 0
        """Attempts that came to nothing."""

    async def stock(self, client: httpx.AsyncClient, name: str) -> dict[str, Any]:
        """How much is left. Raises TooSlowError when patience is over, HTTPStatusError for other goods."""
        pause = 0.25
        with trio.fail_after(self.patience):
            while True:
                try:
                    answer = await client.get(f"{self.shop}/{name}", timeout=self.timeout)
                    answer.raise_for_status()
                    return dict(answer.json())
                except httpx.TransportError:
                    self.failures += 1
                    await trio.sleep(pause)
                    pause = min(pause * 2, 2.0)


async def main(shop: str, name: str) -> None:
    """Ask once."""
    async with httpx.AsyncClient() as client:
        print(await Customer(shop).stock(client, name))


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
