-- +goose Up

-- Times are microseconds since 1970, UTC; 0 is "none". A session's createTime is unique, and is the time in its uid:
-- so it is the key, new rows go to the end, and creation order needs no index.
CREATE TABLE sessions (
    created      INTEGER PRIMARY KEY,
    uid          BLOB    NOT NULL,
    id           TEXT    NOT NULL,
    type         INTEGER NOT NULL,
    display_name TEXT    NOT NULL,
    creator      TEXT    NOT NULL,
    updated      INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    secret_key   INTEGER NOT NULL,
    secret       BLOB,
    doc          TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX sessions_by_id ON sessions (id);
CREATE INDEX sessions_by_update ON sessions (updated);
CREATE INDEX sessions_by_expiry ON sessions (expires) WHERE expires > 0;

-- The lookups by user and by name are cut into epochs of consecutive sessions. An index over all sessions would touch
-- a random page for each entry; within an epoch the pages are few, and are written together. Sessions later than the
-- last epoch's "last" are not in it yet: readers look at those few one by one.
CREATE TABLE epochs (
    first    INTEGER PRIMARY KEY, -- the createTime of its first session
    last     INTEGER NOT NULL,    -- and of its last
    sessions INTEGER NOT NULL
) STRICT;

CREATE TABLE session_users (
    epoch   INTEGER NOT NULL,
    user    TEXT    NOT NULL,     -- an owner or allowed user; '' is everybody, for PUBLIC sessions
    created INTEGER NOT NULL,
    PRIMARY KEY (epoch, user, created)
) STRICT, WITHOUT ROWID;

CREATE TABLE session_names (
    epoch        INTEGER NOT NULL,
    display_name TEXT    NOT NULL,
    created      INTEGER NOT NULL,
    PRIMARY KEY (epoch, display_name, created)
) STRICT, WITHOUT ROWID;

-- What is left of sessions that ended, until their lookups are purged (users is then empty) and a day has passed.
CREATE TABLE tombstones (
    created      INTEGER PRIMARY KEY,
    uid          BLOB    NOT NULL,
    kind         INTEGER NOT NULL, -- 1 deleted, 2 expired
    ended        INTEGER NOT NULL,
    sequence     INTEGER NOT NULL, -- of the session's last event
    display_name TEXT    NOT NULL,
    users        TEXT    NOT NULL  -- whose lookups have it, as a JSON array
) STRICT;

CREATE INDEX tombstones_by_end ON tombstones (ended);
CREATE INDEX tombstones_to_purge ON tombstones (created) WHERE users <> '';

CREATE TABLE requests (
    key    BLOB    PRIMARY KEY,
    at     INTEGER NOT NULL,
    uid    BLOB    NOT NULL,
    digest BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_by_time ON requests (at);

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
