"""One Session Manager stream, the halves of agent and client: open, handshake, sequence, resend, pause, close.

`opening` writes and reads the text message that comes first. `stream` carries payloads over a socket that may be cut,
each once and in order; `sending` and `receiving` are its two directions. Above it `handshake` agrees on a session's
type, on keys (`encryption`) and, between two of our own ends, on larger frames and windows. Port forwarding puts
`smux` and `flags` into the payloads. Nothing here has a socket or a clock. Source: agent protocol reference, sections
11 to 15.
"""
