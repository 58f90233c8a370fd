-- What keyed tools answered, or that nobody knows what they did; one row for each caller's key.
-- The result stands last: rows are counted without reading it.
CREATE TABLE keyed_call (
    caller TEXT NOT NULL,
    call_key TEXT NOT NULL,
    tool TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    began_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    result TEXT,
    PRIMARY KEY (caller, call_key)
);
CREATE INDEX keyed_call_by_expiry ON keyed_call (expires_ms);
