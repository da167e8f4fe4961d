"""A double of the Kubernetes API on the wire, checked against recordings of a real one.

`server` speaks HTTPS, `api` decides on one request at a time: who asks (`authentication`), whether
that is allowed (`authorization`), and what happens to which objects (`resources`, `storage`). What
the double has no notion of, as watches, it answers with 501, never with a guess.
"""
