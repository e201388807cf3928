package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// client asks the product.
type client struct {
	program string
	file    string // where the configuration is written
}

const aHash = "$2b$10$.aUGXSuuixCSv8TZKcEs9u05qUoA.BheTkNfe21wSrKjbNJjjEeYi"

// written is the configuration file; JSON is YAML.
func written(c Configuration) string {
	users := map[string]any{}
	for account, labels := range c.Users {
		user := map[string]any{"labels": labels}
		if account != "" {
			user["password"] = aHash
		}
		users[account] = user
	}
	rules := c.Rules
	if rules == nil {
		rules = []Rule{}
	}
	return line(map[string]any{
		"server": map[string]any{"addr": ":5001"},
		"token":  map[string]any{"issuer": "Acme", "certificate": "token.crt", "key": "token.key"},
		"users":  users,
		"acl":    rules,
	})
}

func line(of any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(of); err != nil {
		panic(err)
	}
	return out.String()
}

// answers asks `explain --requests` all questions in one run.
func (c client) answers(configuration Configuration, questions []Question) ([]Answer, error) {
	if err := os.WriteFile(c.file, []byte(written(configuration)), 0o600); err != nil {
		return nil, err
	}
	var in, out, complaints bytes.Buffer
	for _, q := range questions {
		in.WriteString(line(q))
	}
	command := exec.Command(c.program, "explain", c.file, "--requests", "-")
	command.Stdin, command.Stdout, command.Stderr = &in, &out, &complaints
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("the product does not answer (%w): %s", err, complaints.String())
	}
	var answers []Answer
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		var answer Answer
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			return nil, fmt.Errorf("%w: %s", err, lines.Text())
		}
		answers = append(answers, answer)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(answers) != len(questions) {
		return nil, errors.New("the product answered another number of questions: " + fmt.Sprint(len(answers)))
	}
	return answers, nil
}

// differs is the two answers to one question, if they differ.
func (c client) differs(configuration Configuration, q Question) (Answer, Answer, bool) {
	answers, err := c.answers(configuration, []Question{q})
	if err != nil {
		return Answer{}, Answer{}, false
	}
	expected := decideAll(configuration, []Question{q})[0]
	return expected, answers[0], !expected.same(answers[0])
}

// explainDifference drops rules, fields and users as long as the answers differ, and prints what is left.
func (c client) explainDifference(configuration Configuration, q Question) string {
	smallest := configuration
	try := func(smaller Configuration) {
		if _, _, still := c.differs(smaller, q); still {
			smallest = smaller
		}
	}
	for i := len(smallest.Rules) - 1; i >= 0; i-- {
		rules := append([]Rule{}, smallest.Rules[:i]...)
		try(Configuration{smallest.Users, append(rules, smallest.Rules[i+1:]...)})
	}
	for i := range smallest.Rules {
		for field := range configurationFields(smallest.Rules[i]) {
			rules := append([]Rule{}, smallest.Rules...)
			rules[i].Match = map[string]any{}
			for other, pattern := range smallest.Rules[i].Match {
				if other != field {
					rules[i].Match[other] = pattern
				}
			}
			try(Configuration{smallest.Users, rules})
		}
	}
	for account := range configuration.Users {
		users := map[string]map[string][]string{}
		for other, labels := range smallest.Users {
			if other != account {
				users[other] = labels
			}
		}
		try(Configuration{users, smallest.Rules})
	}
	expected, answer, _ := c.differs(smallest, q)
	var out strings.Builder
	fmt.Fprintf(&out, "  users:    %s", line(smallest.Users))
	for i, rule := range smallest.Rules {
		fmt.Fprintf(&out, "  acl[%d]:   %s", i, line(rule))
	}
	fmt.Fprintf(&out, "  question: %s", line(q))
	fmt.Fprintf(&out, "  oracle:   %s", line(expected))
	fmt.Fprintf(&out, "  product:  %s", line(answer))
	return out.String()
}

func configurationFields(rule Rule) map[string]any {
	fields := map[string]any{}
	for field, pattern := range rule.Match {
		fields[field] = pattern
	}
	return fields
}

// features are what makes a rule hard, to show that the cases have it.
func features(rule Rule) []string {
	seen := map[string]bool{}
	look := func(pattern string) {
		kind := "glob"
		if isRegex(pattern) {
			kind = "regex"
		}
		placeholders := 0
		for _, p := range pieces(pattern) {
			if p.placeholder == "" {
				continue
			}
			placeholders++
			switch {
			case strings.HasPrefix(p.placeholder, "labels:"):
				seen["label in "+kind] = true
			case strings.Contains(p.placeholder, ":"):
				seen["group in "+kind] = true
			default:
				seen["field in "+kind] = true
			}
		}
		if placeholders > 1 {
			seen["several placeholders"] = true
		}
		seen[kind] = true
	}
	for field, wanted := range rule.Match {
		switch wanted := wanted.(type) {
		case string:
			if field == "ip" {
				seen["ip"] = true
			} else {
				look(wanted)
			}
		case map[string]string:
			for _, pattern := range wanted {
				seen["labels"] = true
				look(pattern)
			}
		}
	}
	names := []string{}
	for name := range seen {
		names = append(names, name)
	}
	return names
}
