package server

import "hanse/federation"

// exchangeThirdPartyInvite is PUT /exchange_third_party_invite/{roomID}.
//
// spec:server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid
func (a *api) exchangeThirdPartyInvite(q *request) (any, error) {
	room, err := q.roomID()
	if err != nil {
		return nil, err
	}
	var invite federation.ThirdPartyInvite
	if err := decode(q, &invite); err != nil {
		return nil, err
	}
	if invite.RoomID != room {
		return nil, federation.InvalidParam("room_id is not that of the path")
	}
	return struct{}{}, a.Handlers.ThirdParty.ExchangeThirdPartyInvite(q.ctx(), q.origin, invite)
}

// onBind is PUT /3pid/onbind, which identity servers call: they have no X-Matrix.
//
// spec:server-server-api#put_matrixfederationv13pidonbind
func (a *api) onBind(q *request) (any, error) {
	var notice federation.BoundNotice
	if err := decode(q, &notice); err != nil {
		return nil, err
	}
	return struct{}{}, a.Handlers.ThirdParty.Bound(q.ctx(), notice)
}
