-- The data keys that were destroyed on purpose, here as well as in keys.db: whichever of the two
-- files is put back to an older state, the other remembers.

CREATE TABLE shredded_key (
    id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
