package main

import (
	"fmt"
	"regexp"
	"strings"
)

// token is one step of a glob: a run (`*`), any character but a slash (`?`), or one of a set.
type token struct {
	run    bool
	any    bool
	not    bool
	ranges [][2]rune
}

func (t token) takes(c rune) bool {
	if t.any {
		return c != '/'
	}
	for _, r := range t.ranges {
		if r[0] <= c && c <= r[1] {
			return !t.not
		}
	}
	return t.not
}

func readGlob(glob string) []token {
	var out []token
	runes := []rune(glob)
	for i := 0; i < len(runes); i++ {
		switch runes[i] {
		case '*':
			out = append(out, token{run: true})
		case '?':
			out = append(out, token{any: true})
		case '\\':
			i++
			out = append(out, token{ranges: [][2]rune{{runes[i], runes[i]}}})
		case '[':
			set := token{}
			i++
			if runes[i] == '^' {
				set.not = true
				i++
			}
			one := func() rune {
				if runes[i] == '\\' {
					i++
				}
				i++
				return runes[i-1]
			}
			for runes[i] != ']' {
				low := one()
				high := low
				if runes[i] == '-' {
					i++
					high = one()
				}
				set.ranges = append(set.ranges, [2]rune{low, high})
			}
			out = append(out, set)
		default:
			out = append(out, token{ranges: [][2]rune{{runes[i], runes[i]}}})
		}
	}
	return out
}

// globMatches compares a glob without placeholders: what stands between two runs is placed where it first fits.
func globMatches(glob, subject string) bool {
	var stretches [][]token
	stretch := []token{}
	for _, t := range readGlob(glob) {
		if t.run {
			stretches = append(stretches, stretch)
			stretch = nil
		} else {
			stretch = append(stretch, t)
		}
	}
	stretches = append(stretches, stretch)

	text := []rune(subject)
	for i, stretch := range stretches {
		last := i == len(stretches)-1
		fits := func(at int) bool {
			if at+len(stretch) > len(text) || last && at+len(stretch) != len(text) {
				return false
			}
			for k, t := range stretch {
				if !t.takes(text[at+k]) {
					return false
				}
			}
			return true
		}
		at := 0
		for !fits(at) {
			if i == 0 || at >= len(text) || text[at] == '/' {
				return false
			}
			at++
		}
		text = text[at+len(stretch):]
	}
	return true
}

// globAsRegex says the same to regexp, which looks for every possible way.
func globAsRegex(glob string) string {
	var out strings.Builder
	for _, t := range readGlob(glob) {
		switch {
		case t.run:
			// As much as it can, also where (?U) stands before it.
			out.WriteString(`(?-U:[^/]*)`)
		case t.any:
			out.WriteString(`[^/]`)
		case !t.not && len(t.ranges) == 1 && t.ranges[0][0] == t.ranges[0][1]:
			out.WriteString(regexp.QuoteMeta(string(t.ranges[0][0])))
		default:
			class := ""
			for _, r := range t.ranges {
				if r[0] <= r[1] {
					class += fmt.Sprintf(`\x{%x}-\x{%x}`, r[0], r[1])
				}
			}
			switch {
			case class == "" && t.not:
				out.WriteString(`(?s:.)`)
			case class == "":
				out.WriteString(nowhere)
			case t.not:
				out.WriteString(`[^` + class + `]`)
			default:
				out.WriteString(`[` + class + `]`)
			}
		}
	}
	return out.String()
}
