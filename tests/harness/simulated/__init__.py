"""A world for one seed: time, chance, network and disk are simulated; the relay in it is real.

::

    clock     an event loop whose time jumps to the next timer; no sockets, no threads
    network   transports between the real gateway and clients, with delay, slices, stalls, cuts
    store     the real SQL and group commit on a database in memory, without the thread
    node      one relay put together on these, to be drained, crashed and started again
    clients   the talkers of ``tests.harness.talkers`` on a socket of that network

What may live here: what a seed decides. What may not: anything that differs between two runs of
one seed; ``clock.sealed`` takes those things away.
"""
