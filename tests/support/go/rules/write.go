package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// writer writes rules that come near to one question.
type writer struct {
	dice
	evaluator *Evaluator
	about     Question
}

// candidate is a placeholder and a text that it stands for.
type candidate struct{ placeholder, text string }

func (w writer) rule() Rule {
	match := map[string]any{}
	labels := w.about.Labels
	if labels == nil {
		labels = w.evaluator.Labels[w.about.Account]
	}
	asked := &asking{evaluator: w.evaluator, match: match, labels: labels, fields: map[string]string{
		"account": w.about.Account, "type": w.about.Type, "name": w.about.Name, "service": w.about.Service,
	}}
	candidates := []candidate{}
	for _, field := range []string{"account", "type", "name", "service"} {
		candidates = append(candidates, candidate{"${" + field + "}", asked.fields[field]})
	}
	for _, label := range labelNames {
		for _, value := range labels[label] {
			candidates = append(candidates, candidate{"${labels:" + label + "}", w.instance(value)})
		}
	}
	order := []string{"account", "type", "name", "service"}
	w.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	for _, field := range order {
		if !w.oneIn(map[string]int{"account": 2, "type": 5, "name": 1, "service": 6}[field]) || field == "name" && w.oneIn(5) {
			continue
		}
		text := asked.fields[field]
		others := []candidate{}
		for _, c := range candidates {
			if c.placeholder != "${"+field+"}" || w.oneIn(10) {
				others = append(others, c)
			}
		}
		pattern := w.pattern(text, others)
		match[field] = pattern
		asked.groups = nil
		for group, caught := range asked.caught(field) {
			spelt := field
			if w.oneIn(3) {
				spelt = strings.ToUpper(field[:1]) + field[1:]
			}
			if group > 0 {
				candidates = append(candidates, candidate{fmt.Sprintf("${%s:%d}", spelt, group), caught})
			}
		}
		if w.oneIn(40) {
			match[field] = nil
		}
	}
	if w.oneIn(25) {
		for _, field := range order {
			match[field] = w.waiting(order, asked.fields[field])
		}
	}
	if len(labels) > 0 && w.oneIn(2) || w.oneIn(25) {
		wanted := map[string]string{}
		for _, label := range labelNames {
			if values := labels[label]; len(values) > 0 && w.oneIn(2) {
				wanted[label] = w.pattern(pick(w.dice, values), candidates)
			} else if w.oneIn(60) {
				wanted[label] = w.pattern("a", candidates)
			}
		}
		match["labels"] = wanted
	}
	if w.oneIn(5) {
		match["ip"] = w.network()
	}
	if w.oneIn(40) {
		match["tag"] = pick(w.dice, []string{"*", "", "/.*/", "v*"})
	}
	if w.oneIn(40) {
		match["reference"] = pick(w.dice, []string{"tag", "digest"})
	}
	rule := Rule{Match: match, Actions: pick(w.dice, [][]string{
		{"*"}, {"*"}, {"*"}, {"pull"}, {"pull"}, {"pull", "push"}, {"pull", "push"}, {"pull", "push", "delete"}, {}, {"admin"},
		{"push", "x-1"}, {"delete"},
	})}
	if w.oneIn(12) {
		rule.Actions = pick(w.dice, [][]string{{"*", "pull"}, {"admin", "*"}, {"pull", "pull"}, {"*", "*"}})
	}
	if w.oneIn(12) {
		rule.NotBefore = pick(w.dice, []string{"2020-01-01", "2999-01-01", "2020-06-30T23:59:59+02:00", "2999-01-01T00:00:00Z"})
	}
	if w.oneIn(12) && !strings.HasPrefix(rule.NotBefore, "2999") {
		rule.NotAfter = pick(w.dice, []string{"2020-12-31", "2999-12-31", "2021-01-01T00:00:00-11:00", "2999-12-31T00:00:00.5Z"})
	}
	return rule
}

// waiting is an expression that uses a group of some field, so that fields wait for each other or for themselves.
func (w writer) waiting(fields []string, text string) string {
	group := fmt.Sprintf("${%s:%d}", pick(w.dice, fields), 1+w.IntN(2))
	runes := []rune(text)
	begin := regexp.QuoteMeta(string(runes[:min(len(runes), w.IntN(3))]))
	switch w.IntN(5) {
	case 0:
		return "/^(.)(.*)$/"
	case 1:
		return "/^(" + begin + "|" + group + ")/"
	case 2:
		return "/^(?:" + group + "|(" + begin + "))(.*)/"
	case 3:
		return "/(" + group + "*)(.)/"
	default:
		return pick(w.dice, []string{"/" + group + "|(.*)/", "*" + group + "*", "/(.)(?:" + group + ")?$/", "/((?i)" + group + "|.)/"})
	}
}

// instance is a text that a label's value matches, or nearly.
func (w writer) instance(glob string) string {
	out := ""
	for _, t := range readGlob(glob) {
		switch {
		case t.run:
			out += pick(w.dice, []string{"", "a", "b", "ab"})
		case t.any || t.not:
			out += pick(w.dice, []string{"a", "b", "-"})
		default:
			out += string(pick(w.dice, t.ranges)[w.IntN(2)])
		}
	}
	return out
}

func (w writer) network() string {
	address := w.about.IP
	if address == "" || w.oneIn(4) {
		address = pick(w.dice, clients[1:])
	}
	if w.oneIn(3) {
		return address
	}
	bits := netip.MustParseAddr(address).BitLen()
	// A prefix that cuts into `::ffff:` is refused.
	if w.oneIn(4) && !strings.HasPrefix(address, "::ffff:") {
		return fmt.Sprintf("%s/%d", address, w.IntN(bits+1))
	}
	return fmt.Sprintf("%s/%d", address, bits-w.IntN(33))
}

// pattern is a glob or an expression that matches a text, or nearly.
func (w writer) pattern(text string, candidates []candidate) string {
	if w.oneIn(12) {
		// One placeholder in several places, or repeated.
		again := "${labels:" + pick(w.dice, labelNames[:3]) + "}"
		return strings.ReplaceAll(pick(w.dice, []string{
			"_-_", "_/_", "_/_/_", "_*_", "*_*_", "/^_-_$/", "/^_+$/", "/^(_-?)+$/", `/^_(\/_)*$/`, "/^(_.)*_$/", "/_{2}/", "/^.?_{1,2}$/",
			`/(?i)^_\/_/`, "/_.*_/", "/(_|-){2,}$/",
		}), "_", again)
	}
	if w.oneIn(12) {
		return pick(w.dice, []string{
			"", "*", "/.+/", "/.*/", "*/*", "a*", "/a/", "/^a|b$/", "${account}", "${labels:x}", "${labels:team}/*", "/^${account}/",
			"${labels:none}", "/^(${labels:none}|a.*)$/", "${account:1}", "${name:7}", "//", "/", "a/**/b", "${labels:x}${labels:x}",
			"${labels:x}-${labels:y}", "/^${labels:x}+$/", "${acount}", "a${", "${labels}*", "${a*}", "${x${account}*", "${account:0}", "/${nope}/", "${labels:}", "[!a]*",
		})
	}
	if strings.Contains(text, "${") && w.oneIn(2) {
		return text
	}
	if w.oneIn(2) {
		for range 20 {
			expression := w.expression([]rune(text), candidates, 3)
			if w.oneIn(2) {
				expression = "^" + expression
			}
			if w.oneIn(2) {
				expression += "$"
			}
			if w.oneIn(8) {
				expression = pick(w.dice, []string{"(?i)", "(?s)", "(?U)", "(?m)", "(?i)(?U)"}) + expression
			}
			if written := "/" + expression + "/"; isRegex(written) && readable(expression) {
				return written
			}
		}
	}
	glob := w.glob([]rune(text), candidates)
	if isRegex(glob) {
		return glob + "*"
	}
	return glob
}

// readable says whether the expression is one, whatever its placeholders bring.
func readable(expression string) bool {
	text := ""
	for _, p := range pieces(expression) {
		text += p.text
		if p.placeholder != "" {
			text += "(?:x)"
		}
	}
	_, err := regexp.Compile(text)
	return err == nil
}

// begins picks a placeholder that stands for the beginning of a text, and how much of it.
func (w writer) begins(text []rune, candidates []candidate) (string, int) {
	fitting := []candidate{}
	for _, c := range candidates {
		if c.text != "" && strings.HasPrefix(string(text), c.text) {
			fitting = append(fitting, c)
			if strings.Contains(c.placeholder, ":") {
				fitting = append(fitting, c, c)
			}
		}
	}
	if len(fitting) == 0 || !w.oneIn(2) {
		if w.oneIn(40) {
			return pick(w.dice, candidates).placeholder, 0
		}
		return "", 0
	}
	chosen := pick(w.dice, fitting)
	return chosen.placeholder, len([]rune(chosen.text))
}

func (w writer) glob(text []rune, candidates []candidate) string {
	out := ""
	for i := 0; i < len(text); {
		if placeholder, taken := w.begins(text[i:], candidates); placeholder != "" {
			out += placeholder
			i += taken
			continue
		}
		c := text[i]
		i++
		switch w.IntN(12) {
		case 0, 1:
			out += "*"
			for i < len(text) && text[i] != '/' && !w.oneIn(3) {
				i++
			}
		case 2:
			out += "?"
		case 3:
			out += w.set(c)
		case 4:
			if c == '$' || c == '{' {
				out += string(c)
			} else {
				out += `\` + string(c)
			}
		case 5:
			if w.oneIn(2) {
				out += "*"
			}
			out += globLiteral(c)
		default:
			if !w.oneIn(60) {
				out += globLiteral(c)
			}
		}
	}
	if w.oneIn(12) {
		out += "*"
	}
	return out
}

func globLiteral(c rune) string {
	if strings.ContainsRune(`*?[\`, c) {
		return `\` + string(c)
	}
	if c == '{' {
		return `\{`
	}
	return string(c)
}

func inSet(c rune) string {
	if strings.ContainsRune(`]-\^[`, c) {
		return `\` + string(c)
	}
	return string(c)
}

// set is a set of a glob that holds a character, for the most part.
func (w writer) set(c rune) string {
	if c == '$' || c == '{' {
		return "?"
	}
	switch w.IntN(6) {
	case 0:
		return "[^" + pick(w.dice, []string{"a", "b", "/", "a-c", "é", "^", "b-a"}) + "]"
	case 1:
		return "[a-c" + inSet(c) + "]"
	case 2:
		return "[" + inSet(c) + "!*]"
	case 3:
		return "[" + inSet(c) + "-" + inSet(c+1) + "]"
	case 4:
		return "[b-a" + inSet(c) + "]"
	default:
		return "[" + inSet(c) + "]"
	}
}

func (w writer) expression(text []rune, candidates []candidate, depth int) string {
	if placeholder, taken := w.begins(text, candidates); placeholder != "" {
		if w.oneIn(8) {
			placeholder += pick(w.dice, []string{"+", "*", "?", "{1,2}"})
		}
		if w.oneIn(3) {
			placeholder = "(" + placeholder + ")"
		}
		if w.oneIn(6) {
			placeholder = "(?:" + placeholder + "|" + pick(w.dice, []string{"a", "ab", "x", "", "a.*"}) + ")"
		}
		return placeholder + w.expression(text[taken:], candidates, depth)
	}
	if len(text) == 0 {
		return ""
	}
	if len(text) == 1 || depth == 0 {
		out := ""
		for _, c := range text {
			out += w.atom(c)
		}
		return out
	}
	cut := 1 + w.IntN(len(text)-1)
	first := w.expression(text[:cut], candidates, depth-1)
	switch w.IntN(9) {
	case 0, 1:
		first = "(" + first + ")"
	case 2:
		first = "(" + first + "|" + w.atom(text[0]) + ")"
	case 3:
		first = "(?:" + pick(w.dice, []string{"x", "a", "b", ""}) + "|" + first + ")"
	case 4:
		first = pick(w.dice, []string{"(?i:", "(?U:", "(?P<g>", "(?i-s:"}) + first + ")"
	case 5:
		first = "(" + first + ")" + pick(w.dice, []string{"+", "*", "?", "{1,2}", "+?", "*?"})
	case 6:
		first = pick(w.dice, []string{".*", ".+", "(.*)", "(.+?)", "(.+)", "[^/]*", `(\w*)`, "(a)?"})
	}
	return first + w.expression(text[cut:], candidates, depth-1)
}

func (w writer) atom(c rune) string {
	literal := regexp.QuoteMeta(string(c))
	switch w.IntN(14) {
	case 0:
		return "."
	case 1:
		return literal + pick(w.dice, []string{"+", "*", "?", "{1}", "{0,2}"})
	case 2:
		return "[a-c" + regexp.QuoteMeta(string(c)) + "/]"
	case 3:
		return pick(w.dice, []string{`\w`, `\W`, `\pL`, `[[:alnum:]]`, `[^a]`, `\b`, `\x61`})
	case 4:
		return strings.ToUpper(literal)
	case 5:
		if c == '/' {
			return `\/`
		}
	}
	return literal
}
