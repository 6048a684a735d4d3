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
    last         INTEGER NOT NULL, -- the position of the newest event that is stored; 0: none is
    trim_at      INTEGER NOT NULL  -- when the log is to be trimmed; 0: never
) STRICT;

CREATE INDEX heads_to_trim ON heads (trim_at) WHERE trim_at > 0;

-- The logs, in commit order: in the order of (session, sequence) each busy session would write pages of its own, of the
-- table or of an index. So each event leads to the one before it in its session, and a log is read backwards: from the
-- head's last, or from the end of a block. The first event of a session is made of its row, and the last one of its
-- tombstone.
CREATE TABLE events (
    position   INTEGER PRIMARY KEY, -- ascends with the sequence
    session    INTEGER NOT NULL,    -- its createTime
    sequence   INTEGER NOT NULL,
    prev       INTEGER NOT NULL,    -- the position of the event before it, which may be trimmed; 0: there was none
    kind       INTEGER NOT NULL,
    channel    INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    message_id TEXT    NOT NULL,    -- '' is an id that the server made, of the time and the sequence
    doc        TEXT
) STRICT;

CREATE UNIQUE INDEX events_by_message_id ON events (session, message_id) WHERE message_id <> '';

-- Where the blocks of the logs end that are full: the events with the sequences from 64 * block to 64 * block + 63. A
-- block is here as long as one of its events is.
CREATE TABLE event_blocks (
    session  INTEGER NOT NULL, -- its createTime
    block    INTEGER NOT NULL,
    position INTEGER NOT NULL, -- of the block's last event
    PRIMARY KEY (session, block)
) STRICT, WITHOUT ROWID;

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
ALTER TABLE tombstones ADD COLUMN first INTEGER NOT NULL DEFAULT 0;  -- as in heads; sequence: none is kept
ALTER TABLE tombstones ADD COLUMN log   INTEGER NOT NULL DEFAULT 0;  -- what is yet to be purged, and its members:
-- the events from this position back; -1: no events, only members; 0: nothing
UPDATE tombstones SET sequence = sequence + 1, first = sequence + 1;

CREATE INDEX tombstones_with_log ON tombstones (created) WHERE log <> 0;

ALTER TABLE requests ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0; -- of the last event that the write stored
