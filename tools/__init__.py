"""What builds and measures vnet, and is no part of it."""
