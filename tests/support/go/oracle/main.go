// Command oracle says how Go's own path.Match and regexp read a pattern, so that the rule language can be held
// against them.
//
// It reads one JSON object a line on standard input:
//
//	{"kind":"glob"|"regex","pattern":"...","subject":"..."}
//
// and answers each with one line on standard output:
//
//	{"ok":true,"match":true,"groups":["..."]}
//
// ok is false when Go refuses the pattern; groups holds what the groups of a matching regular expression caught
// (group 1 first, an empty text for a group that took no part).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
)

type question struct {
	Kind    string `json:"kind"`
	Pattern string `json:"pattern"`
	Subject string `json:"subject"`
}

type answer struct {
	OK     bool     `json:"ok"`
	Match  bool     `json:"match"`
	Groups []string `json:"groups"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	buffered := bufio.NewWriter(out)
	questions := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(buffered)
	for {
		var q question
		if err := questions.Decode(&q); err == io.EOF {
			return buffered.Flush()
		} else if err != nil {
			return fmt.Errorf("reading a question: %w", err)
		}
		a, err := decide(q)
		if err != nil {
			return err
		}
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("writing an answer: %w", err)
		}
	}
}

func decide(q question) (answer, error) {
	switch q.Kind {
	case "glob":
		// A glob counts as refused when either subject shows that it is bad: Go reads it only as it goes along.
		_, errEmpty := path.Match(q.Pattern, "")
		matched, err := path.Match(q.Pattern, q.Subject)
		if err != nil || errEmpty != nil {
			return answer{}, nil
		}
		return answer{OK: true, Match: matched}, nil
	case "regex":
		re, err := regexp.Compile(q.Pattern)
		if err != nil {
			return answer{}, nil
		}
		groups := re.FindStringSubmatch(q.Subject)
		if groups == nil {
			return answer{OK: true}, nil
		}
		return answer{OK: true, Match: true, Groups: groups[1:]}, nil
	default:
		return answer{}, fmt.Errorf("unknown kind %q", q.Kind)
	}
}
