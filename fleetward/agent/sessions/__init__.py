"""Sessions: shells, commands and ports of this node, each in a process of its own.

    resident agent (supervisor) --- pipes (link) --- session process (runner), forked from the nursery
      control channel                                  data channel --- server --- client
      keys, ends of sessions                           handshake, then shell | command | port

A session's process lives no longer than the agent that started it: when the pipe closes, the session ends.
"""
