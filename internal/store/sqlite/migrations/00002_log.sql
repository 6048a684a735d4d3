-- +goose Up

-- From now on '' is an id that the server made: the uid's text. It leads to its row by the time in it, and needs no
-- index.
DROP INDEX sessions_by_id;
CREATE UNIQUE INDEX sessions_by_id ON sessions (id) WHERE id <> '';

-- What joins and publishes move of a session. A session without a row has the sequence 1, and all of its log: so a
-- create costs nothing more.
CREATE TABLE heads (
    created      INTEGER PRIMARY KEY,
    sequence     INTEGER NOT NULL, -- of the last event
    members      INTEGER NOT NULL,
    last_message INTEGER NOT NULL, -- a time; 0: none yet
    first        INTEGER NOT NULL, -- the sequence of the oldest event that is kept; sequence + 1: none is
    trim_at      INTEGER NOT NULL  -- when the log is to be trimmed; 0: never
) STRICT;

CREATE INDEX heads_to_trim ON heads (trim_at) WHERE trim_at > 0;

-- The logs, in commit order: in the order of (session, sequence) each busy session would write pages of its own. The
-- first event of a session is made of its row, and the last one of its tombstone.
CREATE TABLE events (
    position   INTEGER PRIMARY KEY,
    session    INTEGER NOT NULL, -- its createTime
    sequence   INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    channel    INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    message_id TEXT    NOT NULL, -- '' is an id that the server made, of the time and the sequence
    doc        TEXT
) STRICT;

CREATE UNIQUE INDEX events_by_sequence ON events (session, sequence);
CREATE UNIQUE INDEX events_by_message_id ON events (session, message_id) WHERE message_id <> '';

CREATE TABLE members (
    session  INTEGER NOT NULL, -- its createTime
    user     TEXT    NOT NULL,
    joined   INTEGER NOT NULL,
    channels TEXT    NOT NULL, -- a JSON array
    PRIMARY KEY (session, user)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_time ON members (session, joined);

-- A tombstone is the session's last event, with the sequence after the head's.
ALTER TABLE tombstones ADD COLUMN id    TEXT    NOT NULL DEFAULT ''; -- as in sessions
ALTER TABLE tombstones ADD COLUMN actor TEXT    NOT NULL DEFAULT '';
ALTER TABLE tombstones ADD COLUMN log   INTEGER NOT NULL DEFAULT 0;  -- 1: events and members are yet to be purged
UPDATE tombstones SET sequence = sequence + 1;

CREATE INDEX tombstones_with_log ON tombstones (created) WHERE log > 0;

ALTER TABLE requests ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0; -- of the last event that the write stored
