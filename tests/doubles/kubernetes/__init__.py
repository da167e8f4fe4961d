"""A double of the Kubernetes API on the wire, checked against recordings of a real one.

`server` speaks HTTPS, `api` decides on one request at a time: who asks (`authentication`), whether
that is allowed (`authorization`), and what happens to which objects (`resources`, `storage`).
`controllers` bring about what follows from the objects, and `node` runs the containers of pods as
local processes. What the double has no notion of it answers with 501, never with a guess.
"""
