-- Times are unix seconds. Nothing here is ever deleted but bindings.

CREATE TABLE api_keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    role        TEXT    NOT NULL,
    -- SHA-256 of the secret, which itself is stored nowhere.
    secret_hash BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;

CREATE TABLE rulesets (
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version BETWEEN 0 AND 4294967295),
    digest     TEXT    NOT NULL,
    source     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

-- What a version says is fixed for ever: records of past calls name it.
CREATE TRIGGER rulesets_never_change BEFORE UPDATE ON rulesets
BEGIN
    SELECT RAISE(ABORT, 'a version of a rule set never changes');
END;
CREATE TRIGGER rulesets_never_go BEFORE DELETE ON rulesets
BEGIN
    SELECT RAISE(ABORT, 'a version of a rule set is never deleted');
END;

CREATE TABLE bindings (
    ruleset     TEXT    NOT NULL,
    -- NULL: whichever version is the newest.
    version     INTEGER,
    target_kind TEXT    NOT NULL CHECK (target_kind IN ('key', 'deployment')),
    target      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    key_id      TEXT GENERATED ALWAYS AS (CASE target_kind WHEN 'key' THEN target END) STORED
                REFERENCES api_keys (id),
    PRIMARY KEY (target_kind, target, ruleset),
    FOREIGN KEY (ruleset, version) REFERENCES rulesets (name, version)
) STRICT;
CREATE INDEX bindings_by_ruleset ON bindings (ruleset);
