package dag

// MaxAuthChain bounds how many events an auth chain may have. The longest known, of rooms with years of power level
// changes, are some ten thousands; a hostile server can make a longer one only by sending that many events, each of
// them authorised.
const MaxAuthChain = 1_000_000
