-- +goose Up

-- How many wrong secretKeys there have been lately: of a caller for an id, of a caller for all ids, and of all callers for
-- an id. Keys are hashes, so that all rows are small, whoever asks for what. What a minute forgets need not survive a
-- crash: the table is empty after one.
CREATE UNLOGGED TABLE guesses (
    key   uuid    PRIMARY KEY,
    wrong integer NOT NULL,
    until bigint  NOT NULL -- when it is forgotten
);

CREATE INDEX guesses_by_end ON guesses (until);
