"""The control socket: how the command line and other programs speak to a running fabric."""
