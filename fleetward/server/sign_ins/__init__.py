"""Sign-ins: people at the console's door: tries, sign-ins, refresh tokens and the short-lived keys they end in.

    tries      who may try again, and when
    password   a local user's name, password, code and new password -> a sign-in
    sessions   sign-ins and their tokens: begin, refresh, end; what their keys are
    listing    what operators see and end: ListSignIns, RevokeSignIn

Hashes of passwords are computed by the edge between two entries: `password.begin` says what to compare with,
`password.conclude` draws the consequence.
"""
