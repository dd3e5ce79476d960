-- What a user's memberships in one room were: else all their rooms are gone through for each.
CREATE INDEX member_history_room ON member_history (user_id, room, position);
