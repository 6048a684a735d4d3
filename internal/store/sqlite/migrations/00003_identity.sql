-- +goose Up

-- Tickets are few: each lives for seconds, and is purged a while after it has expired.
CREATE TABLE tickets (
    hash    BLOB    PRIMARY KEY,
    session BLOB    NOT NULL, -- its uid
    user    TEXT    NOT NULL, -- from here to "key": the caller that it stands for
    admin   INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    expire  INTEGER NOT NULL,
    used    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tickets_by_expiry ON tickets (expire);

CREATE TABLE api_keys (
    number  INTEGER PRIMARY KEY, -- in the order in which they were made
    id      TEXT    NOT NULL UNIQUE,
    name    TEXT    NOT NULL UNIQUE,
    role    TEXT    NOT NULL,
    hash    BLOB    NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    revoked INTEGER NOT NULL     -- 0: it is good
) STRICT;

-- How many sessions exist that a user has created, of those up to a createTime; the later ones are counted when
-- somebody asks. The users are cut into parts, each with a createTime of its own; a part without a row is behind by all
-- sessions, so what is here already needs nothing.
CREATE TABLE creators (
    part     INTEGER NOT NULL,
    user     TEXT    NOT NULL,
    sessions INTEGER NOT NULL,
    PRIMARY KEY (part, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE creator_parts (
    part    INTEGER PRIMARY KEY,
    counted INTEGER NOT NULL -- the createTime
) STRICT;
