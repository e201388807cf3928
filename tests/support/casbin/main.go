// Command casbin says what docker_auth's own library decides by a model and a policy, so that ours can be held against it.
//
// It reads one JSON object a line on standard input:
//
//	{"model": "...", "policy": "...", "questions": [{"account", "type", "name", "service", "ip", "actions", "labels"}]}
//
// and answers each with one line on standard output:
//
//	{"error": "why it did not load", "granted": [["pull"], ...], "failed": 3}
//
// failed counts the actions about which the library made an error, which docker_auth takes for a refusal.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/casbin/casbin/v2"
)

type labels map[string][]string

type question struct {
	Account string   `json:"account"`
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Service string   `json:"service"`
	IP      string   `json:"ip"`
	Actions []string `json:"actions"`
	Labels  labels   `json:"labels"`
}

type task struct {
	Model     string     `json:"model"`
	Policy    string     `json:"policy"`
	Questions []question `json:"questions"`
}

type answer struct {
	Error   string     `json:"error,omitempty"`
	Granted [][]string `json:"granted"`
	Failed  int        `json:"failed"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "casbin:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	folder, err := os.MkdirTemp("", "casbin")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	tasks, answers := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var t task
		if err := tasks.Decode(&t); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a task: %w", err)
		}
		if err := answers.Encode(decide(folder, t)); err != nil {
			return fmt.Errorf("writing an answer: %w", err)
		}
	}
}

// decide loads both files as docker_auth does, and asks about one action after the other.
func decide(folder string, t task) (said answer) {
	defer func() {
		if cause := recover(); cause != nil {
			said = answer{Error: fmt.Sprint(cause)}
		}
	}()
	model, policy := filepath.Join(folder, "model.conf"), filepath.Join(folder, "policy.csv")
	for file, text := range map[string]string{model: t.Model, policy: t.Policy} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return answer{Error: err.Error()}
		}
	}
	enforcer, err := casbin.NewEnforcer(model, policy)
	if err != nil {
		return answer{Error: err.Error()}
	}
	enforcer.AddFunction("labelMatch", func(values ...any) (any, error) {
		return hasAll(read(values[0].(string)), read(values[1].(string))), nil
	})
	for _, q := range t.Questions {
		granted := []string{}
		written, err := json.Marshal(q.Labels)
		if err != nil {
			return answer{Error: err.Error()}
		}
		for _, action := range q.Actions {
			address := net.ParseIP(q.IP).String()
			is, err := enforcer.Enforce(q.Account, q.Type, q.Name, q.Service, address, action, string(written))
			if err != nil {
				said.Failed++
			} else if is {
				granted = append(granted, action)
			}
		}
		said.Granted = append(said.Granted, granted)
	}
	return said
}

// read takes what is not labels for none at all, as docker_auth does.
func read(text string) labels {
	var read labels
	if json.Unmarshal([]byte(text), &read) != nil {
		return nil
	}
	return read
}

// hasAll says whether every value that is wanted is there.
func hasAll(has, wanted labels) bool {
	for name, values := range wanted {
		for _, value := range values {
			if !slices.Contains(has[name], value) {
				return false
			}
		}
	}
	return true
}
