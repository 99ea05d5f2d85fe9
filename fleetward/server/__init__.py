"""Server: the control plane."""
