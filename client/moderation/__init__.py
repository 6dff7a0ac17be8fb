"""What the staff of a relay works with: ``louver mod …``.

What may live in this room: asking the relay's moderation API and the vault, and how their answers
are put. What may not: options (``client.cli``), and any rule of moderation; relay and vault judge.

What somebody may read comes from the vault straight to this program, and is printed and kept
nowhere. What is signed is shown first, and is built anew from what was shown.
"""
