package authrules

// maxInviteChecks bounds the signature checks for one redeemed third-party invite: signatures times keys. Honest ones
// have one signature and one to three keys; two events of 64 KiB could otherwise ask for half a million checks, a
// minute of work. An invite that asks for more is refused, so that the verdict doesn't hang on which are tried first.
// Synapse tries one signature alone with each key, so that an invite with many isn't taken everywhere anyway.
const maxInviteChecks = 64

// maxRedeemed bounds of how many redeemed invites a Memo remembers whether they are signed, at some 50 bytes each: where a state has thousands
// of them, and branches differ in all, each resolution asks for all again.
const maxRedeemed = 16_384

// memoSize is how many power levels a Memo remembers: those of the branches that a resolution compares. Of five hundred users they take
// some 20 KB.
const memoSize = 4
