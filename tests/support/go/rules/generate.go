package main

import (
	"math/rand/v2"
	"strings"
)

// Configuration is what a set of rules needs to be asked about: the accounts of `users` with their labels, and `acl`.
type Configuration struct {
	Users map[string]map[string][]string
	Rules []Rule
}

// dice are random choices that a seed repeats.
type dice struct{ *rand.Rand }

func (d dice) oneIn(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }

// The alphabets are small, so that texts meet often.
var (
	accounts = []string{
		"", "", "a", "b", "ab", "ci-a", "a-b", "a@b.c", "ba@b.c", "a/b", "ab/a", "A", "Ab", "*", "a*", "?", "[ab]", "é", "aé",
		"😀", "a b", "a.b", "/a/", "//", "${account}", "${labels:x}", "$", "{a}", "\\a", "a|b", "(a)", "a+", "-", "]", "^a",
		"${acount}", "${account:0}", "${account:01}", "${Account}", "${x${account}", "${x", "${a*}", "${labels}", "${labels:}",
	}
	labelNames  = []string{"x", "y", "team", "t-1", "X", "a b", "é", "*"}
	labelValues = []string{
		"a", "b", "ab", "ba", "a-b", "a/b", "b/a", "ab/ab", "", "A", "é", "a.b", "a|b", "(a)", "a+", "/a/", "/.*/", "/.+/", "$",
		"^a", "${account}", "{a,b}", "*", "a*", "*a", "**", "a/*", "*/b", "?", "a?", "??", "[ab]", "[^a]", "[^a]*", "[!a]",
		"[a-c]*", "[^/]", "a[^b]b", "\\*", "a\\-b", "[\\]a]", "[b-a]", "[^b-a]", "a*b", "a*-*",
	}
	types    = []string{"repository", "repository", "repository", "repository", "registry", "web", "a", "r2"}
	nameBits = []string{"a", "b", "a", "b", "ab", "ba", "a-b", "a--b", "a.b", "a_b", "a__b", "b-a", "0", "catalog", "aab", "abb", "a-b-a"}
	services = []string{"", "registry", "registry", "Docker registry", "r.a:5000", "a", "ab", "*", "a/b", "Ab", "é"}
	clients  = []string{
		"", "10.0.0.1", "10.0.0.2", "10.1.2.3", "10.255.0.1", "192.168.1.1", "0.0.0.0", "255.255.255.255", "::ffff:10.0.0.1",
		"::ffff:a01:203", "2001:db8::1", "2001:db8:0:1::1", "2001:db9::", "::1", "::", "::a00:1", "fe80::1",
	}
	words = []string{"pull", "push", "delete", "*", "admin", "x-1", "pull"}
)

func name(d dice) string {
	bits := []string{}
	for range 1 + d.IntN(3) {
		bits = append(bits, pick(d, nameBits))
	}
	text := strings.Join(bits, "/")
	switch d.IntN(80) {
	case 0:
		return pick(d, []string{"a.b:5000/", "a-b:80/", "ab:1/", "a_b:80/", "a:65535/", "a:65536/", "a:080/", "a:/"}) + text
	case 1:
		return pick(d, []string{"", "A", "/a", "a/", "a//b", "a..b", "a___b", "-a", "a:b", "a*", "a:80", "é", "a%2fb", strings.Repeat("a", 256)})
	case 2:
		return strings.Repeat("a", 150+d.IntN(110)) + "/ab"
	}
	return text
}

func labels(d dice) map[string][]string {
	out := map[string][]string{}
	for range d.IntN(4) {
		values := []string{}
		from := labelValues
		if d.oneIn(2) {
			from = []string{"a", "b", "ab", "ba", "?", "a*"}
		}
		for range d.IntN(4) {
			values = append(values, pick(d, from))
		}
		out[pick(d, labelNames[:4+d.IntN(len(labelNames)-3)])] = values
	}
	return out
}

func question(d dice, users []string) Question {
	q := Question{
		Account: pick(d, accounts), IP: pick(d, clients), Service: pick(d, services), Type: pick(d, types), Name: name(d),
		Actions: []string{},
	}
	if len(users) > 0 && d.oneIn(2) {
		q.Account = pick(d, users)
	} else if d.oneIn(2) {
		q.Labels = labels(d)
		if len(q.Labels) == 0 {
			q.Labels = nil
		}
	}
	if q.Type == "registry" && d.oneIn(2) {
		q.Name = "catalog"
	}
	if d.oneIn(80) {
		q.Type = pick(d, []string{"", "A", "a_b", "repository(plugin)", strings.Repeat("a", 33)})
	}
	switch d.IntN(8) {
	case 0:
		q.Actions = []string{"*"}
	case 1, 2:
		q.Actions = []string{"pull", "push"}
	case 3, 4:
		q.Actions = []string{"pull"}
	default:
		for range d.IntN(5) {
			q.Actions = append(q.Actions, pick(d, words))
		}
		if d.oneIn(10) {
			q.Actions = append(q.Actions, pick(d, []string{"PULL", "", "a b", "**", "é", strings.Repeat("a", 32), strings.Repeat("a", 33)}))
		}
	}
	return q
}

// like is a question as the first, with some of it as in the second.
func like(d dice, q, other Question) Question {
	if d.oneIn(6) {
		q.Account, q.Labels = other.Account, other.Labels
	}
	if d.oneIn(6) {
		q.Name, q.Type = other.Name, other.Type
	}
	if d.oneIn(6) {
		q.Service = other.Service
	}
	if d.oneIn(6) {
		q.IP = other.IP
	}
	q.Actions = other.Actions
	return q
}

// generate makes rules, the users they speak of, and questions that often come near the rules.
func generate(seed, number uint64, questions int) (Configuration, []Question) {
	d := dice{rand.New(rand.NewPCG(seed, number))}
	c := Configuration{Users: map[string]map[string][]string{}}
	users := []string{}
	for range d.IntN(6) {
		account := pick(d, accounts)
		// A name with a colon is refused in `users`; an account from elsewhere may have one.
		if _, twice := c.Users[account]; !twice && !strings.Contains(account, ":") {
			users = append(users, account)
			c.Users[account] = labels(d)
		}
	}
	evaluator := &Evaluator{Labels: c.Users}
	targets := []Question{}
	for range 2 + d.IntN(6) {
		target := question(d, users)
		if len(target.Name) > 30 {
			target.Name = "ab/a-b" // an expression made from a long name may be too big
		}
		targets = append(targets, target)
	}
	for range 1 + d.IntN(9) {
		c.Rules = append(c.Rules, writer{dice: d, evaluator: evaluator, about: pick(d, targets)}.rule())
	}
	asked := []Question{}
	for range questions {
		other := question(d, users)
		if d.oneIn(6) {
			asked = append(asked, other)
		} else {
			asked = append(asked, like(d, pick(d, targets), other))
		}
	}
	return c, asked
}
