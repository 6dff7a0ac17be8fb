-- The staff themselves, and the answers that are kept for a day so that a request sent twice is
-- carried out once.

CREATE TABLE member (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,    -- never given to another
    subject TEXT NOT NULL,        -- the human behind it
    role TEXT NOT NULL,
    key BLOB NOT NULL,            -- Ed25519, empty until he has joined
    password TEXT NOT NULL,       -- Argon2id
    generation INTEGER NOT NULL,  -- of the second factor, whose secret is stored nowhere
    used INTEGER NOT NULL,        -- the step of the last code
    invite BLOB NOT NULL,         -- a digest
    invited INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT;

CREATE TABLE kept (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    request BLOB NOT NULL,        -- a digest
    status INTEGER NOT NULL,      -- 0 while it is carried out
    etag TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- How far the webhook has come in the queue.
CREATE TABLE told (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    report INTEGER NOT NULL
) STRICT;
