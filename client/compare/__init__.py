"""The same traffic through every mode, side by side: latency, throughput, who can read.

What may live in this package: making traffic, driving real relays with real clients from
outside, searching what each adversary would see, and the report. What may not: any part of the
relay or of a mode, and any number that was not measured. ``cli.run`` is the way in.
"""
