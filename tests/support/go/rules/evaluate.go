package main

import (
	"net/netip"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Question is one line of `explain --requests`. Labels that are nil are those of the account in `users`.
type Question struct {
	Account string              `json:"account"`
	Labels  map[string][]string `json:"labels,omitempty"`
	IP      string              `json:"ip,omitempty"`
	Service string              `json:"service,omitempty"`
	Type    string              `json:"type"`
	Name    string              `json:"name"`
	Actions []string            `json:"actions"`
}

// Rule is one entry of `acl`. Match holds a text for each field, null, or a map of texts for `labels`.
type Rule struct {
	Match     map[string]any `json:"match"`
	Actions   []string       `json:"actions"`
	NotBefore string         `json:"not_before,omitempty"`
	NotAfter  string         `json:"not_after,omitempty"`
}

// Answer is what a line of `explain --requests` says, in so far as it is about the decision.
type Answer struct {
	Rule     *int     `json:"rule"`
	Granted  []string `json:"granted"`
	Withheld []string `json:"withheld"`
}

func (a Answer) same(b Answer) bool {
	if (a.Rule == nil) != (b.Rule == nil) || a.Rule != nil && *a.Rule != *b.Rule {
		return false
	}
	return sameSet(a.Granted, b.Granted) && sameSet(a.Withheld, b.Withheld)
}

func sameSet(a, b []string) bool {
	return strings.Join(set(a), ",") == strings.Join(set(b), ",")
}

func set(words []string) []string {
	out := []string{}
	for _, word := range words {
		if !has(out, word) {
			out = append(out, word)
		}
	}
	sort.Strings(out)
	return out
}

func has(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// What a scope may consist of.
var (
	typeShape = regexp.MustCompile(`\A[a-z0-9]{1,32}\z`)
	nameShape = regexp.MustCompile(`\A(?:` + host + `:([0-9]+)/)?` + part + `(?:/` + part + `)*\z`)
	wordShape = regexp.MustCompile(`\A(?:\*|[a-z][a-z0-9_-]{0,31})\z`)
)

const (
	part = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
	host = `[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*`
)

func isName(text string) bool {
	shape := nameShape.FindStringSubmatch(text)
	if shape == nil || len(text) > 255 {
		return false
	}
	_, err := strconv.ParseUint(shape[1], 10, 16)
	return shape[1] == "" || err == nil
}

// isOwn says whether a question is about what is Dockwarden's own, whose names are accounts and what managers call things.
func isOwn(q Question) bool {
	return q.Type == "dockwarden" && q.Service == "dockwarden" && q.Name != "" && !strings.ContainsFunc(q.Name, unicode.IsControl)
}

// Decide answers a question by the first rule that matches.
func (e *Evaluator) Decide(rules []Rule, q Question) Answer {
	var asked []string
	for _, word := range q.Actions {
		if wordShape.MatchString(word) {
			asked = append(asked, word)
		}
	}
	nothing := Answer{Granted: []string{}, Withheld: set(q.Actions)}
	if !typeShape.MatchString(q.Type) || !isName(q.Name) && !isOwn(q) {
		return nothing
	}
	for i, rule := range rules {
		if !inWindow(rule, e.Now) || !e.matches(rule, q) {
			continue
		}
		granted := grant(rule.Actions, asked)
		withheld := []string{}
		for _, word := range set(q.Actions) {
			if !has(granted, word) {
				withheld = append(withheld, word)
			}
		}
		return Answer{Rule: &i, Granted: set(granted), Withheld: withheld}
	}
	return nothing
}

// grant is the table under "Actions".
func grant(allowed, asked []string) []string {
	granted := []string{}
	if len(allowed) == 1 && allowed[0] == "*" {
		for _, word := range asked {
			if has([]string{"pull", "push", "delete", "*"}, word) {
				granted = append(granted, word)
			}
		}
		return granted
	}
	if has(asked, "*") {
		return allowed
	}
	for _, word := range asked {
		if has(allowed, word) {
			granted = append(granted, word)
		}
	}
	return granted
}

func inWindow(rule Rule, now time.Time) bool {
	if rule.NotBefore != "" && now.Before(moment(rule.NotBefore, 0)) {
		return false
	}
	return rule.NotAfter == "" || now.Before(moment(rule.NotAfter, 24*time.Hour))
}

// moment reads RFC 3339, or a date in UTC and so much after its beginning.
func moment(text string, after time.Duration) time.Time {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.Add(after)
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic("the generator wrote the moment " + text)
	}
	return at
}

// Evaluator holds what stays the same for all questions about one configuration.
type Evaluator struct {
	Labels  map[string]map[string][]string // of `users`, by account
	Now     time.Time
	regexes map[string]*regexp.Regexp
}

func (e *Evaluator) regex(text string) *regexp.Regexp {
	compiled, known := e.regexes[text]
	if !known {
		compiled = regexp.MustCompile(text)
		if e.regexes == nil || len(e.regexes) > 20000 {
			e.regexes = map[string]*regexp.Regexp{}
		}
		e.regexes[text] = compiled
	}
	return compiled
}

func (e *Evaluator) matches(rule Rule, q Question) bool {
	labels := q.Labels
	if labels == nil {
		labels = e.Labels[q.Account]
	}
	about := &asking{evaluator: e, match: rule.Match, labels: labels, fields: map[string]string{
		"account": q.Account, "type": q.Type, "name": q.Name, "service": q.Service,
	}}
	for field, wanted := range rule.Match {
		if wanted == nil {
			continue
		}
		agrees := false
		switch field {
		case "account", "type", "name", "service":
			agrees = about.compare(wanted.(string), about.fields[field])
		case "ip":
			agrees = inside(wanted.(string), q.IP)
		case "tag", "reference":
			// A token request has neither.
		case "labels":
			agrees = true
			for label, pattern := range stringMap(wanted) {
				any := false
				for _, value := range labels[label] {
					any = any || about.compare(pattern, value)
				}
				agrees = agrees && any
			}
		default:
			panic("the generator wrote the field " + field)
		}
		if !agrees {
			return false
		}
	}
	return true
}

func stringMap(value any) map[string]string {
	if texts, ok := value.(map[string]string); ok {
		return texts
	}
	texts := map[string]string{}
	for key, text := range value.(map[string]any) {
		texts[key] = text.(string)
	}
	return texts
}

// inside says whether an address is what a rule's `ip` names. IPv4 in IPv6 form is IPv4 on both sides.
func inside(network, address string) bool {
	if address == "" {
		return false
	}
	client := netip.MustParseAddr(address).Unmap()
	if !strings.Contains(network, "/") {
		return netip.MustParseAddr(network).Unmap() == client
	}
	prefix := netip.MustParsePrefix(network)
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked().Contains(client)
}
