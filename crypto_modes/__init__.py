"""Everything both ends must agree on: frames, modes, proofs.

No sockets, no disk, no clock, and no randomness that is not passed in.
"""
