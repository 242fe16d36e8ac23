-- Calls that are still to be made. A row is there until its call has arrived or was given up.
CREATE TABLE outbox_delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,             -- which target, see rules/lanes.py
    order_key TEXT NOT NULL,        -- '': in no order
    added_at_ms INTEGER NOT NULL,
    due_at_ms INTEGER NOT NULL,     -- 9223372036854775807: waits for another one of its order_key
    attempts INTEGER NOT NULL,
    delivery BLOB NOT NULL          -- MessagePack, see delivery.py
) STRICT;

CREATE INDEX outbox_delivery_by_lane ON outbox_delivery (lane, due_at_ms, id);

CREATE INDEX outbox_delivery_by_order ON outbox_delivery (order_key, id) WHERE order_key <> '';
