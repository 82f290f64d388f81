-- Ended connections. The record itself is the encoded `tidegate.v1.Connection`; the
-- columns beside it are what a selector asks for.
CREATE TABLE audit (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at_ms INTEGER NOT NULL,
    dataplane      TEXT    NOT NULL,
    instance       TEXT    NOT NULL,
    sequence       INTEGER NOT NULL,
    connection_id  TEXT    NOT NULL,
    server_name    TEXT    NOT NULL,
    listener       TEXT    NOT NULL,
    alpn           TEXT    NOT NULL,
    age_ms         INTEGER NOT NULL,
    -- The peer's address in network order, 4 or 16 bytes, so that a range of addresses
    -- is a range of blobs. Empty: unknown.
    peer           BLOB    NOT NULL,
    record         BLOB    NOT NULL,
    UNIQUE (dataplane, instance, sequence)
) STRICT;

CREATE INDEX audit_connection_id ON audit (connection_id);
CREATE INDEX audit_server_name   ON audit (server_name, id);
CREATE INDEX audit_listener      ON audit (listener, id);
CREATE INDEX audit_alpn          ON audit (alpn, id);
CREATE INDEX audit_age           ON audit (age_ms);
CREATE INDEX audit_peer          ON audit (peer);

-- The last sequence number stored of each run of a dataplane: what it sends again after
-- a reconnect is known by it, records of handshakes included.
CREATE TABLE progress (
    dataplane     TEXT    NOT NULL,
    instance      TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (dataplane, instance)
) STRICT;

CREATE INDEX progress_age ON progress (updated_at_ms);
