-- Heads of conversations, as they were entered in the access log: what each digest covers, so that
-- it can be made again from the records. The oldest go.

CREATE TABLE covered (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    digest BLOB NOT NULL,
    entry INTEGER NOT NULL,       -- its index in the access log; -1 until it is entered
    places BLOB NOT NULL          -- conversation and seq, 24 bytes for each
) STRICT;

-- How far the relay has come in the messages, in order of arrival.
CREATE TABLE reached (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    place INTEGER NOT NULL,
    time INTEGER NOT NULL,
    pending BLOB NOT NULL,        -- what is covered and not entered yet
    kept INTEGER NOT NULL
) STRICT;
