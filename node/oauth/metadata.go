package oauth

// Metadata says where and how the server is asked.
//
// spec:client-server-api#server-metadata-discovery
type Metadata struct {
	Issuer                      string   `json:"issuer"`
	AuthorizationEndpoint       string   `json:"authorization_endpoint"`
	TokenEndpoint               string   `json:"token_endpoint"`
	RevocationEndpoint          string   `json:"revocation_endpoint"`
	RegistrationEndpoint        string   `json:"registration_endpoint"`
	DeviceAuthorizationEndpoint string   `json:"device_authorization_endpoint"`
	ResponseTypes               []string `json:"response_types_supported"`
	ResponseModes               []string `json:"response_modes_supported"`
	GrantTypes                  []string `json:"grant_types_supported"`
	CodeChallengeMethods        []string `json:"code_challenge_methods_supported"`
	AuthMethods                 []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	Scopes                      []string `json:"scopes_supported"`
	Prompts                     []string `json:"prompt_values_supported,omitempty"`
	SaysIssuer                  bool     `json:"authorization_response_iss_parameter_supported"`
	AccountManagementURI        string   `json:"account_management_uri"`
	AccountManagementActions    []string `json:"account_management_actions_supported"`
}

// The actions of the account management page.
//
// spec:client-server-api#account-management-url-actions
const (
	ActionProfile           = "org.matrix.profile"
	ActionDevicesList       = "org.matrix.devices_list"
	ActionDeviceView        = "org.matrix.device_view"
	ActionDeviceDelete      = "org.matrix.device_delete"
	ActionDeactivate        = "org.matrix.account_deactivate"
	ActionCrossSigningReset = "org.matrix.cross_signing_reset"
)

// Action is an action by its name; deployed clients have older names for some.
func Action(name string) string {
	switch name {
	case "org.matrix.sessions_list":
		return ActionDevicesList
	case "org.matrix.session_view":
		return ActionDeviceView
	case "org.matrix.session_end":
		return ActionDeviceDelete
	}
	return name
}

// The paths of the API and its pages. They are below /_matrix/, which every proxy before a homeserver forwards already.
const (
	PathAuthorize = "/_matrix/oauth/authorize"
	PathToken     = "/_matrix/oauth/token"
	PathRevoke    = "/_matrix/oauth/revoke"
	PathRegister  = "/_matrix/oauth/register"
	PathDevice    = "/_matrix/oauth/device"
	PathLink      = "/_matrix/oauth/link"
	PathAccount   = "/_matrix/oauth/account"
	PathStyle     = "/_matrix/oauth/style.css"
)

// MetadataAt is the metadata of a server that clients reach at base, a URL without a slash at its end. create: people may make
// accounts.
func MetadataAt(base string, create bool) Metadata {
	m := Metadata{
		Issuer:                      base + "/",
		AuthorizationEndpoint:       base + PathAuthorize,
		TokenEndpoint:               base + PathToken,
		RevocationEndpoint:          base + PathRevoke,
		RegistrationEndpoint:        base + PathRegister,
		DeviceAuthorizationEndpoint: base + PathDevice,
		ResponseTypes:               []string{"code"},
		ResponseModes:               []string{"query", "fragment"},
		GrantTypes:                  []string{GrantCode, GrantRefresh, GrantDevice},
		CodeChallengeMethods:        []string{"S256"},
		AuthMethods:                 []string{"none"},
		RevocationAuthMethods:       []string{"none"},
		Scopes:                      apiScopes,
		SaysIssuer:                  true,
		AccountManagementURI:        base + PathAccount,
		AccountManagementActions: []string{
			ActionProfile, ActionDevicesList, ActionDeviceView, ActionDeviceDelete, ActionDeactivate, ActionCrossSigningReset,
		},
	}
	if create {
		m.Prompts = []string{"create"}
	}
	return m
}
