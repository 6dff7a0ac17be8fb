-- moderation.db: what the staff did, and what users were told and said. Columns are the fields of
-- server/moderation/records.py; what is no number, text or id is MessagePack. Identifiers are
-- 16-byte blobs, times milliseconds. `version` rises with each change. Nothing is deleted.

CREATE TABLE "case" (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    basis TEXT NOT NULL,
    opened INTEGER NOT NULL,
    opener TEXT NOT NULL,
    subject TEXT NOT NULL,        -- the human behind the opener's account
    reason TEXT NOT NULL,
    assignee TEXT NOT NULL,
    report INTEGER NOT NULL,
    authority TEXT NOT NULL,
    reference TEXT NOT NULL,
    country TEXT NOT NULL,
    served INTEGER NOT NULL,
    due INTEGER NOT NULL,
    gag INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    accounts BLOB NOT NULL,
    conversations BLOB NOT NULL,
    closed INTEGER NOT NULL,
    outcome TEXT NOT NULL
) STRICT;
CREATE INDEX case_state ON "case" (state);
CREATE INDEX case_assignee ON "case" (assignee);

CREATE TABLE asked (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    "case" BLOB NOT NULL REFERENCES "case" (id),
    asked INTEGER NOT NULL,
    subject TEXT NOT NULL,
    "grant" BLOB NOT NULL,
    approvals BLOB NOT NULL,
    approvers BLOB NOT NULL,
    begun INTEGER NOT NULL
) STRICT;
CREATE INDEX asked_case ON asked ("case");
CREATE INDEX asked_state ON asked (state);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    "case" BLOB NOT NULL REFERENCES "case" (id),
    time INTEGER NOT NULL,
    auditor TEXT NOT NULL,
    subject TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT;
CREATE INDEX audit_case ON audit ("case");

CREATE TABLE report (
    number INTEGER PRIMARY KEY,   -- that of the sealed report in louver.db
    version INTEGER NOT NULL,
    id BLOB NOT NULL,             -- the reporter's choice
    state TEXT NOT NULL,
    reporter BLOB NOT NULL,
    time INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    assignee TEXT NOT NULL,
    "case" BLOB NOT NULL,
    account BLOB NOT NULL,        -- whom it is about, as its reviewer has noted
    category TEXT NOT NULL,
    evidence TEXT NOT NULL,
    settled INTEGER NOT NULL
) STRICT;
CREATE INDEX report_state ON report (state);
CREATE INDEX report_account ON report (account, reporter);
CREATE INDEX report_reporter ON report (reporter, time);
CREATE INDEX report_time ON report (time);

CREATE TABLE action (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    kind TEXT NOT NULL,
    felt TEXT NOT NULL,           -- owed until the relay has made it so, then done
    time INTEGER NOT NULL,
    account BLOB NOT NULL,
    "case" BLOB NOT NULL,
    report INTEGER NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    until INTEGER NOT NULL,
    conversation BLOB NOT NULL,
    seqs BLOB NOT NULL,
    statement BLOB NOT NULL
) STRICT;
CREATE INDEX action_account ON action (account);
CREATE INDEX action_kind ON action (kind, state);
CREATE INDEX action_owed ON action (number) WHERE felt = 'owed';

CREATE TABLE appeal (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE REFERENCES action (id),
    state TEXT NOT NULL,
    account BLOB NOT NULL,
    time INTEGER NOT NULL,
    words TEXT NOT NULL,
    decided INTEGER NOT NULL,
    decider TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX appeal_state ON appeal (state);

CREATE TABLE hold (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    "case" BLOB NOT NULL REFERENCES "case" (id),
    target TEXT NOT NULL,         -- account or conversation
    place BLOB NOT NULL,          -- its id
    time INTEGER NOT NULL,
    subject TEXT NOT NULL,
    "order" BLOB NOT NULL,
    approvals BLOB NOT NULL,
    approvers BLOB NOT NULL,
    lift BLOB NOT NULL,
    lifter TEXT NOT NULL,
    lifts BLOB NOT NULL,
    lifters BLOB NOT NULL
) STRICT;
CREATE INDEX hold_case ON hold ("case");
CREATE INDEX hold_state ON hold (state);

CREATE TABLE notice (
    number INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    account BLOB NOT NULL,
    time INTEGER NOT NULL,
    due INTEGER NOT NULL,         -- nobody is told before
    topic TEXT NOT NULL,
    action BLOB NOT NULL,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    basis TEXT NOT NULL,
    conversation BLOB NOT NULL,
    until INTEGER NOT NULL,
    count INTEGER NOT NULL,
    statement BLOB NOT NULL,
    told INTEGER NOT NULL,
    read INTEGER NOT NULL
) STRICT;
CREATE INDEX notice_account ON notice (account, number);
CREATE INDEX notice_untold ON notice (due) WHERE told = 0;
