package inbound

// Forget forgets the answers that are in memory, as a stop does.
func (i *Inbound) Forget() { i.answered = answered{} }
