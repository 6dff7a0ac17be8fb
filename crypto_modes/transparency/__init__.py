"""Transparency logs: append-only Merkle trees whose operator cannot show two people two of them.

What may live in this package: the tree and its proofs (``tree``), signed notes and checkpoints
(``note``), and what the key log enters and compares (``key_log``). What may not: storage, which is
passed in, frames' transport, or when to ask. Other logs share ``tree`` and ``note``.
"""
