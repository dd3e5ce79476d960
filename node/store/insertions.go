package store

// The DELETEs that are gathered like INSERTs; see writeTx.remove.
var (
	removeGap    = &removal{from: "gaps", column: "missing", inserts: insertGap}
	removeStaged = &removal{from: "staged", column: "event_id", inserts: insertStaged}
	removeKeys   = &removal{from: "older_server_keys", column: "server", inserts: insertOlderKeys}
)

// The INSERTs whose rows are gathered over the operations of a transaction; see writeTx.insert. They are constants
// in all but the language's sense.
var (
	insertRoom = &insertion{
		into:    "rooms (room, room_id, version, created, position, forward, depth, state, resident, cited)",
		columns: 10, key: 1,
		conflict: `ON CONFLICT (room) DO UPDATE SET created = excluded.created, position = excluded.position,
			forward = excluded.forward, depth = excluded.depth, state = excluded.state, resident = excluded.resident,
			cited = CASE WHEN excluded.cited > 0 THEN excluded.cited ELSE rooms.cited END`,
	}
	insertRoomServer = &insertion{
		into: "room_servers (room, server, joined)", columns: 3, key: 2,
		conflict: "ON CONFLICT (room, server) DO UPDATE SET joined = excluded.joined",
	}
	insertEvent = &insertion{
		into: `events (number, event_id, room, position, stored, depth, status, backfilled, state_before, state_after,
			verdict, txn_key, txn_device, txn_id, json, came)`,
		columns: 16, key: 0,
	}
	insertEventID = &insertion{
		into: "event_ids (event_id, number)", columns: 2, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertTimeline = &insertion{
		into: "timeline (room, position, depth, number)", columns: 4, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertMoved    = &insertion{into: "moved (position, number)", columns: 2, key: 0}
	insertCitation = &insertion{
		into: "citations (cited, citing)", columns: 2, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertGap = &insertion{
		into: "gaps (missing, child, room, depth)", columns: 4, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertStaged = &insertion{
		into: "staged (event_id, room, position, json, came)", columns: 5, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertRedaction = &insertion{
		into: "redactions (target, event_id)", columns: 2, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertNode = &insertion{
		into: "state_nodes (hash, node)", columns: 2, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertStateHistory = &insertion{into: "state_history (room, position, state)", columns: 3, key: 0}
	insertMember       = &insertion{
		into: `members (room, user_id, membership, event_id, sender, position, local, forgotten, out_of_room, stripped,
			since)`,
		columns: 11, key: 2,
		conflict: `ON CONFLICT (room, user_id) DO UPDATE SET membership = excluded.membership,
			event_id = excluded.event_id, sender = excluded.sender, position = excluded.position, forgotten = 0,
			out_of_room = excluded.out_of_room, stripped = excluded.stripped, since = CASE WHEN members.membership =
			excluded.membership AND members.out_of_room = excluded.out_of_room THEN members.since ELSE excluded.since END`,
	}
	insertMemberHistory = &insertion{
		into:    `member_history (user_id, position, room, membership, event_id, sender, out_of_room, stripped)`,
		columns: 8, key: 0,
	}
	insertPartialRoom = &insertion{into: "partial_rooms (room, join_id)", columns: 2, key: 0}
	insertWholeRoom   = &insertion{
		into: "whole_rooms (room, position)", columns: 2, key: 1,
		conflict: "ON CONFLICT (room) DO UPDATE SET position = excluded.position",
	}
	insertPartialServer = &insertion{into: "partial_servers (room, server)", columns: 2, key: 0}
	insertUnsure        = &insertion{into: "unsure_events (room, ordinal, event_id, backfilled, below, given, left_out)", columns: 7, key: 0}
	insertAlias         = &insertion{into: "aliases (alias, room_id, creator)", columns: 3, key: 0}
	insertClientTxn     = &insertion{
		into: "client_txns (batch, txn_key, event_id)", columns: 3, key: 0,
	}
	insertTxnBatch = &insertion{
		into: "client_txn_batches (batch, newest)", columns: 2, key: 1,
		conflict: "ON CONFLICT (batch) DO UPDATE SET newest = excluded.newest",
	}
	insertSweptTxn = &insertion{
		into: "client_txns (batch, txn_key, event_id)", columns: 3, key: 0,
		conflict: "ON CONFLICT DO NOTHING", // a sweep that came to no end may have been here before
	}
	insertReceipt = &insertion{
		into: "receipts (room, user_id, type, thread, event_id, ts, position)", columns: 7, key: 4,
		conflict: `ON CONFLICT (room, user_id, type, thread) DO UPDATE SET event_id = excluded.event_id,
			ts = excluded.ts, position = excluded.position`,
	}
	insertServerKeys = &insertion{
		into: "server_keys (server, fetched, raw)", columns: 3, key: 1,
		conflict: "ON CONFLICT (server) DO UPDATE SET fetched = excluded.fetched, raw = excluded.raw",
	}
	insertOlderKeys   = &insertion{into: "older_server_keys (server, place, fetched, raw)", columns: 4, key: 0}
	insertTransaction = &insertion{
		into: "inbound_transactions (origin, txn_id, response, received)", columns: 4, key: 2,
		conflict: `ON CONFLICT (origin, txn_id) DO UPDATE SET response = excluded.response, received = excluded.received`,
	}
	insertOutbox = &insertion{
		into:    "outbox_log (position, room, event_id, destinations, edu, keep, subject)",
		columns: 7, key: 0,
	}
	insertDestinations = &insertion{into: "outbox_destinations (destinations, hash, servers)", columns: 3, key: 0}
	insertCursor       = &insertion{
		into: "outbox_cursors (destination, position)", columns: 2, key: 1,
		conflict: `ON CONFLICT (destination) DO UPDATE SET position = CASE WHEN excluded.position > outbox_cursors.position
			THEN excluded.position ELSE outbox_cursors.position END`, // one that is written late doesn't take back a newer one
	}
	insertCatchup = &insertion{
		into: "outbox_catchup (destination, room, event_id, position)", columns: 4, key: 2,
		conflict: "ON CONFLICT (destination, room) DO UPDATE SET event_id = excluded.event_id, position = excluded.position",
	}
	insertBackoff = &insertion{
		into: "backoffs (destination, backoff)", columns: 2, key: 1,
		conflict: "ON CONFLICT (destination) DO UPDATE SET backoff = excluded.backoff",
	}
)
