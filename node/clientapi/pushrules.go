package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/push"
)

func (a *API) pushRuleRoutes() []route {
	const one = "/pushrules/global/{kind}/{ruleId}"
	return []route{
		{http.MethodGet, "/pushrules/{$}", stable, withUser, ordinary, a.pushRules},
		{http.MethodGet, "/pushrules", stable, withUser, ordinary, a.pushRules},
		{http.MethodGet, "/pushrules/global/{$}", stable, withUser, ordinary, a.globalPushRules},
		{http.MethodGet, "/pushrules/global", stable, withUser, ordinary, a.globalPushRules},
		{http.MethodGet, one, stable, withUser, ordinary, a.pushRule},
		{http.MethodPut, one, stable, withUser, ordinary, a.putPushRule},
		{http.MethodDelete, one, stable, withUser, ordinary, a.deletePushRule},
		{http.MethodGet, one + "/enabled", stable, withUser, ordinary, a.pushRuleEnabled},
		{http.MethodPut, one + "/enabled", stable, withUser, ordinary, a.enablePushRule},
		{http.MethodGet, one + "/actions", stable, withUser, ordinary, a.pushRuleActions},
		{http.MethodPut, one + "/actions", stable, withUser, ordinary, a.setPushRuleActions},
	}
}

// rulesOf are a user's push rules.
func (a *API) rulesOf(ctx context.Context, user id.UserID) (push.Ruleset, error) {
	stored, err := a.config.Users.AccountData(ctx, user, "", push.AccountDataType)
	if wire, ok := errors.AsType[*federation.Error](err); ok && wire.Status == http.StatusNotFound {
		stored, err = nil, nil
	}
	return push.Read(user, stored), err
}

// changeRules changes the push rules of who asks, in one step.
func (r *request) changeRules(change func(push.Ruleset) (push.Ruleset, error)) (any, error) {
	return nil, r.api.changeRulesOf(r.Context(), r.user, change)
}

func (a *API) changeRulesOf(ctx context.Context, user id.UserID, change func(push.Ruleset) (push.Ruleset, error)) error {
	return a.config.Users.UpdateAccountData(ctx, user, "", push.AccountDataType,
		func(old json.RawMessage) (json.RawMessage, error) {
			rules, err := change(push.Read(user, old))
			if err != nil {
				return nil, err
			}
			return rules.Encode()
		})
}

// spec:client-server-api#get_matrixclientv3pushrules
func (a *API) pushRules(r *request) (any, error) {
	rules, err := a.rulesOf(r.Context(), r.user)
	return push.Content{Global: rules}, err
}

// spec:client-server-api#get_matrixclientv3pushrulesglobal
func (a *API) globalPushRules(r *request) (any, error) { return a.rulesOf(r.Context(), r.user) }

// spec:client-server-api#get_matrixclientv3pushrulesglobalkindruleid
func (a *API) pushRule(r *request) (any, error) {
	rules, err := a.rulesOf(r.Context(), r.user)
	if err != nil {
		return nil, err
	}
	return rules.Rule(r.PathValue("kind"), r.PathValue("ruleId"))
}

// spec:client-server-api#put_matrixclientv3pushrulesglobalkindruleid
func (a *API) putPushRule(r *request) (any, error) {
	var change push.Change
	if err := r.decode(&change); err != nil {
		return nil, err
	}
	query := r.URL.Query()
	return r.changeRules(func(rules push.Ruleset) (push.Ruleset, error) {
		return rules.Put(r.PathValue("kind"), r.PathValue("ruleId"), change, query.Get("before"), query.Get("after"))
	})
}

// spec:client-server-api#delete_matrixclientv3pushrulesglobalkindruleid
func (a *API) deletePushRule(r *request) (any, error) {
	return r.changeRules(func(rules push.Ruleset) (push.Ruleset, error) {
		return rules.Delete(r.PathValue("kind"), r.PathValue("ruleId"))
	})
}

// spec:client-server-api#get_matrixclientv3pushrulesglobalkindruleidenabled
func (a *API) pushRuleEnabled(r *request) (any, error) {
	rule, err := a.pushRule(r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"enabled": rule.(push.Rule).Enabled}, nil
}

// spec:client-server-api#put_matrixclientv3pushrulesglobalkindruleidenabled
func (a *API) enablePushRule(r *request) (any, error) {
	var req struct {
		Enabled *bool `json:"enabled"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Enabled == nil {
		return nil, missingParam("enabled")
	}
	return r.changeRules(func(rules push.Ruleset) (push.Ruleset, error) {
		return rules.Enable(r.PathValue("kind"), r.PathValue("ruleId"), *req.Enabled)
	})
}

// spec:client-server-api#get_matrixclientv3pushrulesglobalkindruleidactions
func (a *API) pushRuleActions(r *request) (any, error) {
	rule, err := a.pushRule(r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"actions": rule.(push.Rule).Actions}, nil
}

// spec:client-server-api#put_matrixclientv3pushrulesglobalkindruleidactions
func (a *API) setPushRuleActions(r *request) (any, error) {
	var req struct {
		Actions json.RawMessage `json:"actions"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	return r.changeRules(func(rules push.Ruleset) (push.Ruleset, error) {
		return rules.SetActions(r.PathValue("kind"), r.PathValue("ruleId"), req.Actions)
	})
}
