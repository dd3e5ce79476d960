package clientapi

import (
	"net/http"

	"hanse/federation"
	"hanse/node/push"
)

// The server's default rules are what everybody has; they can be read, not changed.
//
// todo spec: rules of the user's own, enabling and disabling, changing actions, pushers, notification counts
func (a *API) pushRuleRoutes() []route {
	return []route{
		{http.MethodGet, "/pushrules/{$}", stable, withUser, ordinary, a.pushRules},
		{http.MethodGet, "/pushrules", stable, withUser, ordinary, a.pushRules},
		{http.MethodGet, "/pushrules/global/{$}", stable, withUser, ordinary, a.globalPushRules},
		{http.MethodGet, "/pushrules/global", stable, withUser, ordinary, a.globalPushRules},
		{http.MethodGet, "/pushrules/global/{kind}/{ruleId}", stable, withUser, ordinary, a.pushRule},
		{http.MethodGet, "/pushrules/global/{kind}/{ruleId}/enabled", stable, withUser, ordinary, a.pushRuleEnabled},
		{http.MethodGet, "/pushrules/global/{kind}/{ruleId}/actions", stable, withUser, ordinary, a.pushRuleActions},
		{http.MethodGet, "/pushers", stable, withUser, ordinary, a.pushers},
	}
}

// spec:client-server-api#get_matrixclientv3pushrules
func (a *API) pushRules(r *request) (any, error) {
	return map[string]any{"global": push.DefaultRules(r.user)}, nil
}

// spec:client-server-api#get_matrixclientv3pushrulesglobal
func (a *API) globalPushRules(r *request) (any, error) { return push.DefaultRules(r.user), nil }

// findPushRule finds the rule the path names.
func (a *API) findPushRule(r *request) (push.Rule, error) {
	rules, ok := push.DefaultRules(r.user).Kind(r.PathValue("kind"))
	if !ok {
		return push.Rule{}, invalidParam("%q is not a kind of push rule", r.PathValue("kind"))
	}
	for _, rule := range rules {
		if rule.ID == r.PathValue("ruleId") {
			return rule, nil
		}
	}
	return push.Rule{}, federation.NotFound("no such push rule")
}

func (a *API) pushRule(r *request) (any, error) {
	rule, err := a.findPushRule(r)
	return rule, err
}

func (a *API) pushRuleEnabled(r *request) (any, error) {
	rule, err := a.findPushRule(r)
	return map[string]any{"enabled": rule.Enabled}, err
}

func (a *API) pushRuleActions(r *request) (any, error) {
	rule, err := a.findPushRule(r)
	return map[string]any{"actions": rule.Actions}, err
}

// pushers: nothing is pushed yet, so there are none, and setting one answers 405.
func (a *API) pushers(*request) (any, error) { return map[string]any{"pushers": []any{}}, nil }
