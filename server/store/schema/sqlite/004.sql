-- Attachments: one row for each file below blobs/. Their bytes are in those files alone.

CREATE TABLE blob (
    id BLOB PRIMARY KEY,
    conversation BLOB NOT NULL,   -- its id: an attachment may be here before the first message
    sender BLOB NOT NULL,
    recipient BLOB NOT NULL,
    kind TEXT NOT NULL,
    mode TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    size INTEGER NOT NULL,        -- as it travels: padded or sealed
    digest BLOB NOT NULL,         -- SHA-256 of that
    head BLOB NOT NULL,           -- what the mode put before the first piece
    state TEXT NOT NULL CHECK (state IN ('partial', 'whole', 'kept')),
    begun INTEGER NOT NULL,
    touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_sender ON blob (sender);
CREATE INDEX blob_unkept ON blob (touched) WHERE state <> 'kept';
