package main

import (
	"crypto/subtle"
	"slices"
	"strings"
)

// Plugin is where yours goes: the type that your docker_auth plugin exports as Authn, as Authz, or as both.
type Plugin struct{}

var passwords = map[string]string{"alice": "secret of alice", "bob": "secret of bob"}
var teams = map[string][]string{"alice": {"web"}, "bob": {"db", "web"}}

// Authenticate is docker_auth's: it says whether the password is right, and which labels the account has.
func (*Plugin) Authenticate(user string, password PasswordString) (bool, Labels, error) {
	known, ok := passwords[user]
	if !ok {
		return false, nil, NoMatch
	}
	if subtle.ConstantTimeCompare([]byte(known), []byte(password)) != 1 {
		return false, nil, WrongPass
	}
	return true, Labels{"team": teams[user]}, nil
}

// Authorize is docker_auth's: it says which of the actions are granted.
func (*Plugin) Authorize(asked *AuthRequestInfo) ([]string, error) {
	team, _, _ := strings.Cut(asked.Name, "/")
	if asked.Type != "repository" {
		return nil, NoMatch
	}
	if slices.Contains(asked.Labels["team"], team) {
		return asked.Actions, nil
	}
	return []string{}, nil
}
