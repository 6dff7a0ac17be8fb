-- What scanning held back, by the report about it; `released` counts up as moderators let it go.

CREATE TABLE held (
    report BLOB PRIMARY KEY,
    digest BLOB NOT NULL,
    sender BLOB NOT NULL,
    released INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX held_released ON held (released);

-- Scanning reports under an id that no account gets and a name that nobody can ask for.
INSERT INTO account (id, name, created, password, subject, suspended, key)
VALUES (zeroblob(16), '', 0, '', '', 1, x'');
