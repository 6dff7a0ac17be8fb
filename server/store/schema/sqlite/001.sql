-- louver.db: everything but the data keys. Identifiers are 16-byte blobs, times milliseconds.

CREATE TABLE relay (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    deployment BLOB NOT NULL CHECK (length(deployment) = 16),
    epoch INTEGER NOT NULL DEFAULT 0,  -- how often the operator's default changed
    modes TEXT NOT NULL DEFAULT ''     -- that default, as JSON with sorted keys
) STRICT;

CREATE TABLE account (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    password TEXT NOT NULL,       -- an Argon2id string, or empty
    subject TEXT NOT NULL,        -- of the external provider, or empty
    suspended INTEGER NOT NULL,
    key BLOB NOT NULL,            -- 32 bytes, or empty
    list BLOB                     -- a MessagePack DeviceList
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX account_subject ON account (subject) WHERE subject <> '';

CREATE TABLE device (
    id BLOB PRIMARY KEY,
    account BLOB NOT NULL REFERENCES account (id),
    token BLOB NOT NULL,          -- a keyed hash, never the token
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX device_account ON device (account);

-- Messages name their conversation by this small number, which saves 14 bytes in a row and in
-- each of two indexes.
CREATE TABLE conversation (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    first BLOB NOT NULL,
    second BLOB NOT NULL
) STRICT;
CREATE INDEX conversation_first ON conversation (first);
CREATE INDEX conversation_second ON conversation (second);

-- In order of arrival, so that a commit appends whole pages instead of rewriting one page for
-- every conversation it touches: half the CPU and a third of the bytes of a table that is
-- clustered by conversation (tests/benchmarks/bench_store.py).
CREATE TABLE message (
    conversation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    sender INTEGER NOT NULL CHECK (sender IN (0, 1)),  -- 0: the conversation's first account
    device BLOB NOT NULL,
    kind TEXT NOT NULL,
    mode TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    time INTEGER NOT NULL,
    record BLOB NOT NULL,
    commitment BLOB NOT NULL,
    stamp BLOB NOT NULL,
    chain BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX message_order ON message (conversation, seq);
CREATE UNIQUE INDEX message_id ON message (conversation, id);

CREATE TABLE cursor (
    device BLOB NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    conversation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (device, conversation)
) STRICT, WITHOUT ROWID;

CREATE TABLE read_mark (
    account BLOB NOT NULL,
    conversation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (account, conversation)
) STRICT, WITHOUT ROWID;

CREATE TABLE prekey (
    device BLOB NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    algorithm INTEGER NOT NULL,   -- 5 X25519, 8 ML-KEM-768
    use TEXT NOT NULL,            -- signed, once, last
    id INTEGER NOT NULL,
    key BLOB NOT NULL,
    expires INTEGER NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (device, algorithm, use, id)
) STRICT, WITHOUT ROWID;

-- Who was given one-time keys of a device, and when: at most once in 24 hours.
CREATE TABLE prekey_grant (
    requester BLOB NOT NULL,
    device BLOB NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    time INTEGER NOT NULL,
    PRIMARY KEY (requester, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX prekey_grant_device ON prekey_grant (device);
CREATE INDEX prekey_grant_time ON prekey_grant (time);

-- Keyed by the conversation's id: a policy is agreed before the first message.
CREATE TABLE policy (
    conversation BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    record BLOB NOT NULL,         -- a MessagePack Policy
    PRIMARY KEY (conversation, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE block (
    account BLOB NOT NULL,
    blocked BLOB NOT NULL,
    PRIMARY KEY (account, blocked)
) STRICT, WITHOUT ROWID;
