-- The key log: every account key and device list that was ever published, in order, and the whole
-- subtrees of its Merkle tree (RFC 9162). Rows are never changed. Lists that are older than the log
-- are entered when the relay starts.

-- The public key that signs it, or empty: clients pin it, so the file with its secret half must not
-- be made anew.
ALTER TABLE relay ADD COLUMN log_key BLOB NOT NULL DEFAULT x'';

CREATE TABLE key_log (
    number INTEGER PRIMARY KEY,   -- from 0, without gaps
    account BLOB NOT NULL,
    key BLOB NOT NULL,
    list BLOB NOT NULL,           -- a MessagePack DeviceList
    tag BLOB NOT NULL,
    entry BLOB NOT NULL,
    leaf BLOB NOT NULL UNIQUE     -- the leaf's hash: the tree's level 0
) STRICT;

-- Level 1 and above; the node covers the leaves number << level up to (number + 1) << level.
CREATE TABLE key_log_node (
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;
