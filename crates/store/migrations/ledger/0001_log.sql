-- The log, and what is found by it. Times are unix milliseconds.

CREATE TABLE entries (
    -- Entries before it.
    idx    INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0),
    -- A DSSE envelope in one line of JSON.
    bytes  BLOB    NOT NULL,
    -- The hash of the leaf and of each subtree that it completes, from the leaf upwards: the hash
    -- of subtree n of a level is in row ((n + 1) << level) - 1, at position `level`.
    hashes BLOB    NOT NULL CHECK (length(hashes) > 0 AND length(hashes) % 32 = 0)
) STRICT;
CREATE TRIGGER entries_never_change BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'an entry of the log never changes');
END;
CREATE TRIGGER entries_never_go BEFORE DELETE ON entries
BEGIN
    SELECT RAISE(ABORT, 'an entry of the log is never deleted');
END;

-- One row: who writes the log, and how it ends.
CREATE TABLE log (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    replica    TEXT    NOT NULL,
    -- The signed note over all entries.
    checkpoint TEXT    NOT NULL,
    last_at    INTEGER NOT NULL
) STRICT;

-- What is asked about calls without reading their entries, which it all comes from.
CREATE TABLE calls (
    opened_index INTEGER NOT NULL PRIMARY KEY REFERENCES entries (idx),
    record_id    TEXT    NOT NULL UNIQUE,
    -- NULL: a caller without a key.
    key_id       TEXT,
    -- Empty: a caller without a key.
    key_id_hash  TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    deployment   TEXT    NOT NULL,
    -- name@version of each, between spaces.
    rulesets     TEXT    NOT NULL,
    opened_at    INTEGER NOT NULL,
    -- All NULL while it runs.
    closed_index INTEGER REFERENCES entries (idx),
    closed_at    INTEGER,
    outcome      TEXT,
    prompt       INTEGER,
    cached       INTEGER,
    released     INTEGER,
    discarded    INTEGER,
    attempts     INTEGER,
    UNIQUE (key_id_hash, seq)
) STRICT;
-- Each of these ends in opened_index, by which pages are ordered.
CREATE INDEX calls_by_key ON calls (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX calls_by_deployment ON calls (deployment);
CREATE INDEX calls_by_outcome ON calls (outcome) WHERE outcome IS NOT NULL;
CREATE INDEX calls_by_time ON calls (opened_at);
CREATE INDEX calls_open ON calls (opened_index) WHERE closed_index IS NULL;
CREATE TRIGGER calls_end_once BEFORE UPDATE ON calls WHEN OLD.closed_index IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a call that has ended never changes');
END;
CREATE TRIGGER calls_never_go BEFORE DELETE ON calls
BEGIN
    SELECT RAISE(ABORT, 'a call is never deleted');
END;

CREATE TABLE call_rulesets (
    name         TEXT    NOT NULL,
    opened_index INTEGER NOT NULL REFERENCES calls (opened_index),
    version      INTEGER NOT NULL,
    PRIMARY KEY (name, opened_index, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX call_rulesets_by_version ON call_rulesets (name, version, opened_index);

-- By the day on which a call ended, in UTC: days since 1970.
CREATE TABLE usage (
    day        INTEGER NOT NULL,
    -- Empty: callers without a key.
    key_id     TEXT    NOT NULL,
    deployment TEXT    NOT NULL,
    calls      INTEGER NOT NULL,
    prompt     INTEGER NOT NULL,
    cached     INTEGER NOT NULL,
    released   INTEGER NOT NULL,
    discarded  INTEGER NOT NULL,
    PRIMARY KEY (day, key_id, deployment)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER calls_are_used AFTER UPDATE OF closed_index ON calls
BEGIN
    INSERT INTO usage VALUES (NEW.closed_at / 86400000, coalesce(NEW.key_id, ''), NEW.deployment,
                              1, NEW.prompt, NEW.cached, NEW.released, NEW.discarded)
    ON CONFLICT DO UPDATE SET calls = calls + 1,
                              prompt = prompt + excluded.prompt,
                              cached = cached + excluded.cached,
                              released = released + excluded.released,
                              discarded = discarded + excluded.discarded;
END;

-- What the commitments of a call are salted with, until it is erased.
CREATE TABLE salts (
    opened_index INTEGER NOT NULL PRIMARY KEY REFERENCES calls (opened_index),
    salt         BLOB    NOT NULL CHECK (length(salt) = 32)
) STRICT;

-- Every public key that has signed something here.
CREATE TABLE public_keys (
    id    TEXT    NOT NULL CHECK (length(id) = 64),
    kind  TEXT    NOT NULL CHECK (kind IN ('record', 'log')),
    -- SubjectPublicKeyInfo in PEM.
    pem   TEXT    NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (id, kind)
) STRICT;
CREATE TRIGGER public_keys_never_change BEFORE UPDATE ON public_keys
BEGIN
    SELECT RAISE(ABORT, 'a published key never changes');
END;
CREATE TRIGGER public_keys_never_go BEFORE DELETE ON public_keys
BEGIN
    SELECT RAISE(ABORT, 'a published key is never deleted');
END;
