// Command go-plugin serves a plugin of docker_auth's to Dockwarden: Authenticate answers http_auth, Authorize http_authz.
// Let it listen where only Dockwarden reaches it: whoever does may try passwords.
package main

import (
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
)

// What a plugin uses of docker_auth's package api.
type (
	Labels          map[string][]string
	PasswordString  string
	AuthRequestInfo struct {
		Account, Type, Name, Service string
		IP                           net.IP
		Actions                      []string
		Labels                       Labels
	}
)

var (
	NoMatch   = errors.New("did not match any rule")
	WrongPass = errors.New("wrong password for user")
)

func authn(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	ok, labels, err := new(Plugin).Authenticate(user, PasswordString(password))
	switch {
	case errors.Is(err, NoMatch):
		w.WriteHeader(http.StatusNotFound) // not_mine
	case errors.Is(err, WrongPass), err == nil && !ok:
		w.WriteHeader(http.StatusUnauthorized)
	default:
		answer(w, map[string]any{"labels": labels}, err)
	}
}

func authz(w http.ResponseWriter, r *http.Request) {
	var asked AuthRequestInfo // encoding/json finds "account" for Account; an address that is null stays nil
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked); err != nil {
		answer(w, nil, err)
		return
	}
	actions, err := new(Plugin).Authorize(&asked)
	if errors.Is(err, NoMatch) {
		actions, err = nil, nil // "actions": null leaves the question to whoever is asked next
	} else if actions == nil {
		actions = []string{}
	}
	answer(w, map[string]any{"actions": actions}, err)
}

// answer sends the reply; an error is 500, with which Dockwarden grants nothing and lets the client try again.
func answer(w http.ResponseWriter, reply any, err error) {
	if err != nil {
		log.Print("the plugin failed: ", err)
		w.WriteHeader(http.StatusInternalServerError)
	} else if err := json.NewEncoder(w).Encode(reply); err != nil {
		log.Print("the answer was not sent: ", err)
	}
}

func main() {
	listener, err := net.Listen("tcp", append(os.Args, "127.0.0.1:5002")[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Print("Listening on ", listener.Addr())
	http.HandleFunc("POST /authn", authn)
	http.HandleFunc("POST /authz", authz)
	log.Fatal(http.Serve(listener, nil))
}
