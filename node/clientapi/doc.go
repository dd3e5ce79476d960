// Package clientapi is the client-server HTTP API: it authenticates, bounds, decodes, calls the package that knows,
// and encodes. It decides nothing about rooms, users or storage, and it is the one place that makes the wire errors
// of this API.
//
// A file is a module of the specification and has the name of its OpenAPI file in the specification's
// data/api/client-server; the frame is in api.go, routes.go, request.go, errors.go, authentication.go, ratelimit.go
// and cors.go.
package clientapi
