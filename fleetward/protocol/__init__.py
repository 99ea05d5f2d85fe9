"""What both ends agree on: wire formats and rules as plain code, without sockets, clock or async."""
