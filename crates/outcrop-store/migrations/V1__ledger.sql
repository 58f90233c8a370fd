-- One schema for both engines. BIGINT is an integer of 64 bits in either; truth values are 0 and 1.

CREATE TABLE account (
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    reach_ms BIGINT,
    dimension TEXT NOT NULL,
    limit_amount BIGINT NOT NULL,
    carve_out BIGINT NOT NULL,
    hard BIGINT NOT NULL,
    posted BIGINT NOT NULL,
    suspense BIGINT NOT NULL,
    emergency BIGINT NOT NULL,
    told TEXT NOT NULL,
    PRIMARY KEY (budget, scope, start_ms)
);
CREATE INDEX account_by_end ON account (end_ms);

-- Locked by a transaction before it reads the accounts of a budget's scope, new ones included.
CREATE TABLE gate (
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    PRIMARY KEY (budget, scope)
);

CREATE TABLE lease (
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    replica TEXT NOT NULL,
    granted BIGINT NOT NULL,
    granted_emergency BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    spent_emergency BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    PRIMARY KEY (budget, scope, start_ms, replica)
);
CREATE INDEX lease_by_replica ON lease (replica);

CREATE TABLE entry (
    attempt TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    org TEXT NOT NULL,
    team TEXT NOT NULL,
    key_name TEXT NOT NULL,
    user_name TEXT NOT NULL,
    run TEXT NOT NULL,
    model TEXT NOT NULL,
    path TEXT NOT NULL,
    target TEXT NOT NULL,
    operation TEXT NOT NULL,
    tool TEXT NOT NULL,
    upstream_request_id TEXT NOT NULL,
    price_version TEXT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    cache_write_1h_tokens BIGINT,
    reasoning_tokens BIGINT,
    bound_nusd BIGINT NOT NULL,
    cost_nusd BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    lines TEXT NOT NULL,
    corrects TEXT,
    corrected_by TEXT,
    reason TEXT,
    by_name TEXT,
    signature TEXT
);
CREATE INDEX entry_by_time ON entry (at_ms);
CREATE INDEX entry_by_state ON entry (state, at_ms);

CREATE TABLE crossing (
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    level TEXT NOT NULL,
    committed BIGINT NOT NULL,
    limit_amount BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (budget, scope, start_ms, level)
);
CREATE INDEX crossing_by_time ON crossing (at_ms);

CREATE TABLE pace (
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    slot_ms BIGINT NOT NULL,
    posted BIGINT NOT NULL,
    suspense BIGINT NOT NULL,
    PRIMARY KEY (budget, scope, slot_ms)
);

CREATE TABLE replica (
    id TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    ledger_ms BIGINT NOT NULL,
    mono_ms BIGINT NOT NULL,
    boot TEXT NOT NULL
);

CREATE TABLE document (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    words TEXT NOT NULL
);
INSERT INTO meta (name, number, words) VALUES ('revision', 0, '');
