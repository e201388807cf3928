// Command api stands in for an operator's HTTP API: it knows accounts, licences and who may do what.
//
//	api -listen 127.0.0.1:0 [-certificate FILE -key FILE] -account carol:secret -licence TOKEN=stable,beta
//
// It says where it listens in one line on standard output, "Listening on 127.0.0.1:1234", and answers:
//
//	GET  /                     Basic credentials: 200 or 401
//	GET  /v1/meta/licenses/    Bearer TOKEN: 200 with {"objects": [{"release": "stable"}]}, or 401
//	POST /may                  {"account", "name", ...}: {"actions": ["pull"]} below "open/", {"actions": null} below
//	                           "next/", {"actions": []} elsewhere
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

type repeated []string

func (r *repeated) String() string         { return strings.Join(*r, " ") }
func (r *repeated) Set(value string) error { *r = append(*r, value); return nil }

type release struct {
	Release string `json:"release"`
}

type api struct {
	accounts map[string]string
	licences map[string][]release
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	certificate := flag.String("certificate", "", "PEM file; with it, TLS is spoken")
	key := flag.String("key", "", "PEM file")
	var accounts, licences repeated
	flag.Var(&accounts, "account", "NAME:PASSWORD, may be repeated")
	flag.Var(&licences, "licence", "TOKEN=RELEASE,RELEASE, may be repeated")
	flag.Parse()

	a := &api{accounts: map[string]string{}, licences: map[string][]release{}}
	for _, account := range accounts {
		name, password, _ := strings.Cut(account, ":")
		a.accounts[name] = password
	}
	for _, licence := range licences {
		token, releases, _ := strings.Cut(licence, "=")
		a.licences[token] = []release{}
		for _, name := range strings.Split(releases, ",") {
			a.licences[token] = append(a.licences[token], release{name})
		}
	}
	if err := a.serve(*listen, *certificate, *key); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func (a *api) serve(address, certificate, key string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.login)
	mux.HandleFunc("GET /v1/meta/licenses/{$}", a.licenses)
	mux.HandleFunc("POST /may", a.may)
	server := &http.Server{Handler: mux}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("Listening on", listener.Addr())
	if certificate != "" {
		return server.ServeTLS(listener, certificate, key)
	}
	return server.Serve(listener)
}

func (a *api) login(w http.ResponseWriter, r *http.Request) {
	account, password, _ := r.BasicAuth()
	if known, ok := a.accounts[account]; !ok || known != password {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintln(w, "401 Unauthorized")
		return
	}
	fmt.Fprintln(w, "User authenticated successfully")
}

func (a *api) licenses(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	releases, ok := a.licences[token]
	if !ok {
		say(w, http.StatusUnauthorized, map[string]any{"error_code": "unauthorized"})
		return
	}
	say(w, http.StatusOK, map[string]any{"total": len(releases), "objects": releases})
}

func (a *api) may(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		say(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	var actions []string
	switch {
	case strings.HasPrefix(asked.Name, "open/"):
		actions = []string{"pull"}
	case strings.HasPrefix(asked.Name, "next/"):
		actions = nil
	default:
		actions = []string{}
	}
	say(w, http.StatusOK, map[string]any{"actions": actions})
}

func say(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that has gone away is no fault of ours.
	_ = json.NewEncoder(w).Encode(body)
}
