"""The program that runs on a node: it joins, keeps a channel open, runs documents and reports their results."""
