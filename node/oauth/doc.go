// Package oauth is what the OAuth 2.0 API decides without asking anybody: what clients may say of themselves and where users may be
// sent back to, which authorisation requests are good, scopes, proofs of possession of a code (PKCE), codes that people type, and the
// server's metadata.
//
// It is pure: accounts, codes and tokens are node/users', pages and endpoints node/clientapi's.
//
// spec:client-server-api#oauth-20-api
package oauth
