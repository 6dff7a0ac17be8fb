-- keys.db: the wrapped data keys, apart from the messages, so that the two are backed up apart
-- and shredding a key holds even when yesterday's messages are restored.

CREATE TABLE data_key (
    id BLOB PRIMARY KEY,
    conversation BLOB NOT NULL,
    sender BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    created INTEGER NOT NULL,
    serving BLOB NOT NULL,        -- wrapped by the serving key
    moderation BLOB NOT NULL      -- wrapped by the moderation key, or empty
) STRICT, WITHOUT ROWID;
CREATE INDEX data_key_newest ON data_key (conversation, sender, epoch, created);
