-- An operator's plan to end a mode for this service; at most one at a time. See server/sunset.py.

CREATE TABLE sunset (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    mode TEXT NOT NULL,           -- what ends
    instead TEXT NOT NULL,        -- what new conversations begin in from the freeze on
    freeze INTEGER NOT NULL,      -- no new conversation in the mode from then on
    final INTEGER NOT NULL,       -- those that are left are read-only from then on
    phase TEXT NOT NULL           -- planned, announced, frozen, ended, cancelled
) STRICT;
