-- Texts of calls, apart from the log, so that they can be erased. Times are unix milliseconds.

CREATE TABLE texts (
    record_id TEXT    NOT NULL UNIQUE,
    class     TEXT    NOT NULL,
    opened_at INTEGER NOT NULL,
    request   BLOB,
    -- JSON: an array of what was released, by choice.
    outputs   TEXT    NOT NULL
) STRICT;
CREATE INDEX texts_by_age ON texts (class, opened_at);

-- Records whose text and salt must not be erased.
CREATE TABLE holds (
    record_id TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
