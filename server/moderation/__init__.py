"""Moderation access: cases, grants, the queue of reports, actions, appeals, holds and notices.

What may live in this room: the use cases of the staff and what they keep, in a file of its own
(``moderation.db``), and the Protocols of what they need. What may not: HTTP, sockets, keys that
open anything, or how the relay makes an action felt (``server/effects.py``). moderation.md.

======== =========================================================================================
records  what is kept: plain structs, each with a version
states   the states of each, as tables
desk     what every use case has at hand; the order in which a step happens
cases    opening, assigning, closing, auditing
granting asking for leave to read, approving it, the second approval of an emergency
queue    reports as work: who looks at what, what was found, floods
actions  what is done about an account or a message, and undone
appeals  deciding what a user says against an action
holds    preservation
notices  what users are told, when, and what they answer
sqlite   the file
======== =========================================================================================

A step happens in this order and in no other: allowed? → entered in the access log → kept → felt. So
nothing is ever done that the log does not have; what the log has may, after a crash, not be done
yet, and is then done at the next start.
"""
