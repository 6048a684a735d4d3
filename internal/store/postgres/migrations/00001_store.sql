-- +goose Up

-- Times are microseconds since 1970, UTC; 0 is "none". A session's uid is a UUIDv7 of its createTime: so new rows go to
-- the end of the index, creation order is its order, and the createTime needs no column. Texts are compared bytewise.
CREATE TABLE sessions (
    uid          uuid     PRIMARY KEY,
    id           text     COLLATE "C" NOT NULL,
    type         smallint NOT NULL,
    display_name text     COLLATE "C" NOT NULL,
    creator      text     COLLATE "C" NOT NULL,
    updated      bigint   NOT NULL,
    expires      bigint   NOT NULL,
    secret_key   bigint   NOT NULL,
    secret       bytea,
    doc          text     NOT NULL
);

CREATE UNIQUE INDEX sessions_by_id ON sessions (id);
CREATE INDEX sessions_by_update ON sessions (updated, uid);
CREATE INDEX sessions_by_name ON sessions (display_name, uid);
CREATE INDEX sessions_by_expiry ON sessions (expires) WHERE expires > 0;

-- What joins and publishes move of a session, and the row that a write locks. Every session has one. The free space lets
-- a row's next version stay in its page.
CREATE TABLE heads (
    uid          uuid    PRIMARY KEY,
    sequence     bigint  NOT NULL, -- of the last event
    members      integer NOT NULL,
    last_message bigint  NOT NULL, -- a time; 0: none yet
    latest       bigint  NOT NULL, -- the time of the last write
    first        bigint  NOT NULL, -- the sequence of the oldest event that is kept; sequence + 1: none is
    trim_at      bigint  NOT NULL  -- when the log is to be trimmed; 0: never
) WITH (fillfactor = 50);

CREATE INDEX heads_to_trim ON heads (trim_at) WHERE trim_at > 0;

-- The logs, in commit order. The first event of a session is made of its row, and the last one of its tombstone.
CREATE TABLE events (
    uid        uuid     NOT NULL,
    sequence   bigint   NOT NULL,
    time       bigint   NOT NULL,
    channel    integer  NOT NULL,
    kind       smallint NOT NULL,
    actor      text     COLLATE "C" NOT NULL,
    message_id text     COLLATE "C" NOT NULL, -- '' is an id that the server made, of the time and the sequence
    doc        text,
    PRIMARY KEY (uid, sequence)
);

CREATE UNIQUE INDEX events_by_message_id ON events (uid, message_id) WHERE message_id <> '';

CREATE TABLE members (
    uid       uuid      NOT NULL,
    user_name text      COLLATE "C" NOT NULL,
    joined    bigint    NOT NULL,
    channels  integer[] NOT NULL,
    PRIMARY KEY (uid, user_name)
);

CREATE INDEX members_by_time ON members (uid, joined);

-- By whom sessions are found: owners, allowed users, members; '' is everybody, for PUBLIC sessions. The rows of ended
-- sessions are purged later.
CREATE TABLE session_users (
    user_name text COLLATE "C" NOT NULL,
    uid       uuid NOT NULL,
    PRIMARY KEY (user_name, uid)
);

-- What is left of sessions that ended, until it is purged and a day has passed: the last event, with the sequence after
-- the head's.
CREATE TABLE tombstones (
    uid      uuid     PRIMARY KEY,
    id       text     COLLATE "C" NOT NULL,
    kind     smallint NOT NULL, -- as in events
    actor    text     COLLATE "C" NOT NULL,
    ended    bigint   NOT NULL,
    sequence bigint   NOT NULL,
    first    bigint   NOT NULL, -- as in heads; sequence: none is kept
    users    text[]   NOT NULL, -- by whom the session was found, less its members
    purged   boolean  NOT NULL  -- there is no more of it
);

CREATE INDEX tombstones_by_end ON tombstones (ended);
CREATE INDEX tombstones_to_purge ON tombstones (uid) WHERE NOT purged;

CREATE TABLE requests (
    key      uuid   PRIMARY KEY,
    at       bigint NOT NULL,
    uid      uuid   NOT NULL,
    digest   uuid   NOT NULL,
    sequence bigint NOT NULL -- of the last event that the write stored
);

CREATE INDEX requests_by_time ON requests (at);

-- Tickets are few: each lives for seconds, and is purged a while after it has expired.
CREATE TABLE tickets (
    hash      bytea   PRIMARY KEY,
    uid       uuid    NOT NULL,
    user_name text    COLLATE "C" NOT NULL, -- from here to "key": the caller that it stands for
    admin     boolean NOT NULL,
    until     bigint  NOT NULL,
    key       text    COLLATE "C" NOT NULL,
    expire    bigint  NOT NULL,
    used      boolean NOT NULL
);

CREATE INDEX tickets_by_expiry ON tickets (expire);

CREATE TABLE api_keys (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order in which they were made
    id      text   COLLATE "C" NOT NULL UNIQUE,
    name    text   COLLATE "C" NOT NULL UNIQUE,
    role    text   NOT NULL,
    hash    bytea  NOT NULL UNIQUE,
    created bigint NOT NULL,
    revoked bigint NOT NULL -- 0: it is good
);

-- How many sessions exist that a user has created: the sum of the parts; no row is none. Each lane of each node adds to a
-- part of its own, so that those who create as one user do not wait for one another. A part may be negative.
CREATE TABLE creators (
    user_name text     COLLATE "C" NOT NULL,
    part      smallint NOT NULL DEFAULT 0,
    sessions  bigint   NOT NULL,
    PRIMARY KEY (user_name, part)
);

CREATE INDEX creators_to_merge ON creators (user_name) WHERE sessions < 0;

-- The transactions that changed something, each a row. Inserting a row again tells whether a transaction was committed
-- whose COMMIT got no answer: if not, the row is void, and it never will be. The transaction ids tell nodes what they have
-- not seen yet; they, and the database's clock, also say which rows are old: nodes' clocks may be wrong.
CREATE TABLE commits (
    group_id  uuid     PRIMARY KEY, -- unique, and no more than that
    xid       xid8     NOT NULL DEFAULT pg_current_xact_id(),
    written   bigint   NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    at        bigint   NOT NULL, -- the latest time of its writes
    void      boolean  NOT NULL,
    uids      uuid[]   NOT NULL, -- the sessions whose logs it went on with
    sequences bigint[] NOT NULL  -- and where these then ended
);

CREATE INDEX commits_by_transaction ON commits (xid, group_id);

CREATE TABLE settings (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);
