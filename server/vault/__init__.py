"""The vault: a process of its own that opens what a grant is about, and nothing else.

What may live in this room: the moderation key, who may have it used and how, and the process around
it. What may not: cases and their states, which are the relay's; the log, which the vault keeps
through ``server.access_log``. moderation.md, The vault. ::

    asking     who calls, by his own signature, once
    staff      whom the vault knows, from its own file
    opening    a grant: check, fetch, enter in the log, decrypt, show
    reported   a report: fetch, enter in the log, unseal, judge, show
    revealed   which reported messages were proven, and when
    keys       the secret halves of doors, from files or from shares
    relay      what it asks of the relay
    journal    the few things it must not forget: nonces, heads of conversations, reports, unwraps
    counting   how many data keys were unwrapped, by day
    reconciling    whether the log announced them all
    state, operator    what its operator asks
    routes, app, settings    the process
"""
