"""`fleetward login` and `logout`: short-lived keys for the plain `aws` command, by a password or by OIDC.

door      the server's door, /console/session, over HTTP
kept      what outlives the command, in a file that only its user reads
profile   the AWS profile that has `aws` ask us for keys
commands  login, logout, and what `aws` runs
"""
