"""Edge: sockets in, calls out; the only place of the server that is async."""
