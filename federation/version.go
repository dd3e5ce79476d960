package federation

// VersionResponse is the answer of GET /version.
//
// spec:server-server-api#server-implementation
type VersionResponse struct {
	Server ServerVersion `json:"server"`
}

// ServerVersion names an implementation. Both texts are free.
type ServerVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}
