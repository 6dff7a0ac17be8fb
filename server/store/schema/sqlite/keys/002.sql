-- Which generation of the key-encryption key wrapped a data key, what shows that a key-encryption
-- key is the right one, and which data keys were destroyed on purpose.

ALTER TABLE data_key ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
CREATE INDEX data_key_generation ON data_key (generation, id);
CREATE INDEX data_key_sender ON data_key (sender);

CREATE TABLE platform_key (
    generation INTEGER PRIMARY KEY,
    proof BLOB NOT NULL,          -- known bytes, wrapped by it
    retired INTEGER NOT NULL      -- 1 once the generations before it are destroyed
) STRICT;

CREATE TABLE shredded_key (
    id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
