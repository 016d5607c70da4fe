"""A Python prompt in a fabric: `vnet shell`."""
