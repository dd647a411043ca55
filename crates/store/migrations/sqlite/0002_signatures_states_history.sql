-- Who may sign rule sets, who has signed them, which version is in force, and who put it there.

CREATE TABLE signers (
    -- SHA-256 of the SubjectPublicKeyInfo in DER.
    id         TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 64),
    -- The person. Two signatures of one person count once.
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('author', 'approver')),
    -- Names of the only rule sets that this key may sign, between spaces; NULL: any.
    rulesets   TEXT,
    -- SubjectPublicKeyInfo in PEM.
    public_key TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    -- 1: revoked for having been in wrong hands, so that nothing it ever signed counts.
    distrusted INTEGER NOT NULL DEFAULT 0 CHECK (distrusted IN (0, 1))
) STRICT;
CREATE TRIGGER signers_keep_their_key BEFORE UPDATE OF id, name, role, rulesets, public_key ON signers
BEGIN
    SELECT RAISE(ABORT, 'a signer never changes; revoke it and add another');
END;
CREATE TRIGGER signers_never_go BEFORE DELETE ON signers
BEGIN
    SELECT RAISE(ABORT, 'a signer is revoked, never deleted');
END;

CREATE TABLE ruleset_signatures (
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    signer     TEXT    NOT NULL REFERENCES signers (id),
    -- Ed25519 over the pre-authentication encoding (DSSE) of the bytes in `rulesets`.
    signature  BLOB    NOT NULL CHECK (length(signature) = 64),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (name, version, signer),
    FOREIGN KEY (name, version) REFERENCES rulesets (name, version)
) STRICT;
CREATE TRIGGER ruleset_signatures_never_change BEFORE UPDATE ON ruleset_signatures
BEGIN
    SELECT RAISE(ABORT, 'a signature never changes');
END;
CREATE TRIGGER ruleset_signatures_never_go BEFORE DELETE ON ruleset_signatures
BEGIN
    SELECT RAISE(ABORT, 'a signature is never deleted');
END;

CREATE TABLE ruleset_states (
    name           TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('registered', 'active', 'superseded', 'retired')),
    -- When it was first activated or bound.
    in_force_since INTEGER,
    PRIMARY KEY (name, version),
    FOREIGN KEY (name, version) REFERENCES rulesets (name, version)
) STRICT;
CREATE UNIQUE INDEX one_active_version ON ruleset_states (name) WHERE state = 'active';

CREATE TABLE ruleset_history (
    id      INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL,
    -- NULL: of a binding that follows the active version.
    version INTEGER,
    event   TEXT    NOT NULL CHECK (event IN
        ('registered', 'signed', 'activated', 'superseded', 'retired', 'bound', 'unbound')),
    -- Who signed, or what it was bound to.
    detail  TEXT,
    actor   TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX ruleset_history_by_name ON ruleset_history (name);
CREATE TRIGGER ruleset_history_never_changes BEFORE UPDATE ON ruleset_history
BEGIN
    SELECT RAISE(ABORT, 'history never changes');
END;
CREATE TRIGGER ruleset_history_never_goes BEFORE DELETE ON ruleset_history
BEGIN
    SELECT RAISE(ABORT, 'history is never deleted');
END;

-- Until now bindings without a version followed the highest one, and any version could be bound.
INSERT INTO ruleset_states (name, version, state, in_force_since)
SELECT name, version,
       CASE version WHEN max(version) OVER (PARTITION BY name) THEN 'active' ELSE 'superseded' END,
       created_at
FROM rulesets;
INSERT INTO ruleset_history (name, version, event, detail, actor, at)
SELECT name, version, 'activated', NULL, 'an earlier portcullis', created_at
FROM rulesets ORDER BY created_at, name, version;

-- A target may have a rule set twice: one version in force, and one that is only observed.
CREATE TABLE new_bindings (
    ruleset     TEXT    NOT NULL,
    -- NULL: whichever version is active.
    version     INTEGER,
    target_kind TEXT    NOT NULL CHECK (target_kind IN ('key', 'deployment')),
    target      TEXT    NOT NULL,
    observe     INTEGER NOT NULL CHECK (observe IN (0, 1)),
    created_at  INTEGER NOT NULL,
    key_id      TEXT GENERATED ALWAYS AS (CASE target_kind WHEN 'key' THEN target END) STORED
                REFERENCES api_keys (id),
    PRIMARY KEY (target_kind, target, ruleset, observe),
    FOREIGN KEY (ruleset, version) REFERENCES rulesets (name, version)
) STRICT;
INSERT INTO new_bindings (ruleset, version, target_kind, target, observe, created_at)
SELECT ruleset, version, target_kind, target, 0, created_at FROM bindings;
DROP TABLE bindings;
ALTER TABLE new_bindings RENAME TO bindings;
CREATE INDEX bindings_by_ruleset ON bindings (ruleset);
