package main

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// asking is one question before one rule: what placeholders stand for, and what groups caught so far.
type asking struct {
	evaluator *Evaluator
	match     map[string]any
	labels    map[string][]string
	fields    map[string]string
	groups    map[string][]string // by field, once they were looked for
}

// piece is a stretch of a pattern: plain text, or a placeholder.
type piece struct {
	text        string
	placeholder string // "account", "account:1", "labels:x", or empty for plain text
}

// value is one thing that a placeholder may stand for.
type value struct {
	text string
	glob bool
}

// nowhere matches no text at all.
const nowhere = `[^\x00-\x{10FFFF}]`

func isRegex(pattern string) bool {
	return len(pattern) >= 3 && strings.HasPrefix(pattern, "/") && strings.HasSuffix(pattern, "/")
}

// pieces finds placeholders from left to right, each up to the next brace. What is none is passed over by its `${` alone.
func pieces(pattern string) []piece {
	var out []piece
	plain := ""
	for pattern != "" {
		end := -1
		if strings.HasPrefix(pattern, "${") {
			end = strings.IndexByte(pattern, '}')
		}
		if end < 0 {
			plain += pattern[:1]
			pattern = pattern[1:]
			continue
		}
		name := placeholderNamed(pattern[2:end])
		if name == "" {
			plain += pattern[:2]
			pattern = pattern[2:]
			continue
		}
		out = append(out, piece{text: plain}, piece{placeholder: name})
		plain = ""
		pattern = pattern[end+1:]
	}
	return append(out, piece{text: plain})
}

var groupShape = regexp.MustCompile(`\A([Aa]ccount|[Tt]ype|[Nn]ame|[Ss]ervice):([0-9]+)\z`)

func placeholderNamed(text string) string {
	switch text {
	case "account", "type", "name", "service":
		return text
	}
	if group := groupShape.FindStringSubmatch(text); group != nil {
		number, err := strconv.Atoi(group[2])
		if err != nil {
			number = 1 << 30 // more groups than any expression has
		}
		if number == 0 {
			return "" // groups are counted from 1
		}
		return strings.ToLower(group[1]) + ":" + strconv.Itoa(number)
	}
	if label, ok := strings.CutPrefix(text, "labels:"); ok && label != "" && !strings.ContainsAny(label, "${") {
		return text
	}
	return ""
}

// values are all that a placeholder may stand for; none of them matches nothing.
func (a *asking) values(placeholder string) []value {
	if label, ok := strings.CutPrefix(placeholder, "labels:"); ok {
		var out []value
		for _, text := range a.labels[label] {
			out = append(out, value{text, true})
		}
		return out
	}
	field, number, isGroup := strings.Cut(placeholder, ":")
	if !isGroup {
		return []value{{a.fields[field], false}}
	}
	group, err := strconv.Atoi(number)
	caught := a.caught(field)
	if err != nil || group < 1 || group >= len(caught) {
		return nil
	}
	return []value{{caught[group], false}}
}

// caught are the groups of a field's own expression, as regexp numbers them; none if it is not one, if it does not
// match, or if it waits for itself.
func (a *asking) caught(field string) []string {
	groups, known := a.groups[field]
	if pattern, ok := a.match[field].(string); !known && ok && isRegex(pattern) && !a.waits(field, field, nil) {
		groups = a.combine(pieces(pattern[1:len(pattern)-1]), true, "", "", a.fields[field])
	}
	if a.groups == nil {
		a.groups = map[string][]string{}
	}
	a.groups[field] = groups
	return groups
}

// waits says whether a field's pattern uses groups of another, also by way of others.
func (a *asking) waits(field, other string, seen []string) bool {
	pattern, _ := a.match[field].(string)
	for _, p := range pieces(pattern) {
		next, _, isGroup := strings.Cut(p.placeholder, ":")
		if !isGroup || next == "labels" || has(seen, next) {
			continue
		}
		seen = append(seen, next)
		if next == other || a.waits(next, other, seen) {
			return true
		}
	}
	return false
}

// compare says whether a pattern matches.
func (a *asking) compare(pattern, subject string) bool {
	if isRegex(pattern) {
		return a.combine(pieces(pattern[1:len(pattern)-1]), false, "", "", subject) != nil
	}
	found := pieces(pattern)
	if len(found) == 1 {
		return globMatches(pattern, subject)
	}
	for i := range found {
		found[i].text = globAsRegex(found[i].text)
	}
	return a.combine(found, false, `\A(?s:`, `)\z`, subject) != nil
}

// combine tries every combination of what the placeholders stand for, the same value wherever one is repeated, and
// returns what the groups of the first that matches caught. Where groups are wanted, the values of a placeholder that is
// taken once are alternatives instead.
func (a *asking) combine(found []piece, groups bool, before, after, subject string) []string {
	often := map[string]bool{}
	if groups {
		often = takenOften(found)
	}
	var names []string
	for _, p := range found {
		if p.placeholder != "" && !has(names, p.placeholder) {
			names = append(names, p.placeholder)
		}
	}
	chosen := map[string]string{}
	var try func(int) []string
	try = func(at int) []string {
		if at < len(names) {
			stands := a.stands(names[at])
			if groups && !often[names[at]] {
				stands = []string{strings.Join(stands, "|")}
			}
			for _, s := range stands {
				chosen[names[at]] = s
				if caught := try(at + 1); caught != nil {
					return caught
				}
			}
			return nil
		}
		text := before
		for _, p := range found {
			text += p.text
			if p.placeholder != "" {
				text += "(?:" + chosen[p.placeholder] + ")"
			}
		}
		return a.evaluator.regex(text + after).FindStringSubmatch(subject)
	}
	return try(0)
}

// stands are all values of a placeholder as expressions, or what never matches.
func (a *asking) stands(placeholder string) []string {
	var out []string
	for _, v := range a.values(placeholder) {
		if v.glob {
			out = append(out, globAsRegex(v.text))
		} else {
			out = append(out, regexp.QuoteMeta(v.text))
		}
	}
	if out == nil {
		return []string{nowhere}
	}
	return out
}

// takenOften are the placeholders of an expression that stand in it twice, or in a repetition.
func takenOften(found []piece) map[string]bool {
	text := ""
	count := map[string]int{}
	names := map[string]string{}
	for i, p := range found {
		text += p.text
		if p.placeholder != "" {
			count[p.placeholder]++
			mark := fmt.Sprintf("placeholder%d", i)
			names[mark] = p.placeholder
			text += "(?P<" + mark + ">x)"
		}
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		panic("the generator wrote the expression " + text)
	}
	var walk func(*syntax.Regexp, bool)
	walk = func(node *syntax.Regexp, repeated bool) {
		switch node.Op {
		case syntax.OpStar, syntax.OpPlus:
			repeated = true
		case syntax.OpRepeat:
			repeated = repeated || node.Max < 0 || node.Max > 1
		case syntax.OpCapture:
			if placeholder := names[node.Name]; placeholder != "" && repeated {
				count[placeholder] += 2
			}
		}
		for _, sub := range node.Sub {
			walk(sub, repeated)
		}
	}
	walk(tree, false)
	often := map[string]bool{}
	for placeholder, n := range count {
		often[placeholder] = n > 1
	}
	return often
}
