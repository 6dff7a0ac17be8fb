-- Reports, sealed to the moderation team. The relay can neither open them nor tell what they are
-- about; a tag says only that this reporter reports the same message again.

CREATE TABLE report (
    number INTEGER PRIMARY KEY,   -- in order of arrival
    id BLOB NOT NULL,             -- the reporter's choice, so that a retry is not a second report
    reporter BLOB NOT NULL REFERENCES account (id),
    time INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    UNIQUE (reporter, id)
) STRICT;

CREATE TABLE report_tag (
    reporter BLOB NOT NULL,
    tag BLOB NOT NULL,
    report INTEGER NOT NULL REFERENCES report (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,    -- of the message in the report, from 0
    PRIMARY KEY (reporter, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_tag_report ON report_tag (report);
