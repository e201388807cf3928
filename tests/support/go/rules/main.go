// Command rules is a second reading of docs/reference/rules.md: it decides random questions by random rules itself, asks
// Dockwarden's own `explain --requests` the same, and compares rule, granted and withheld actions.
//
// It was written from the documentation alone and shares no code with what it tests. It ends with status 1 where the two
// disagree, and shows the smallest set of rules that still does; with 0 and a line of JSON that counts the cases if not.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

// summary counts cases, by what the oracle says of them.
type summary struct {
	Seed          uint64         `json:"seed"`
	Cases         int            `json:"cases"`
	Sets          int            `json:"sets"`
	Seconds       float64        `json:"seconds"`
	Disagreements int            `json:"disagreements"`
	Matched       float64        `json:"matched"`
	All           float64        `json:"granted_all"`
	Part          float64        `json:"granted_part"`
	Nothing       float64        `json:"granted_nothing"`
	Decided       map[string]int `json:"decided_by"` // cases by what stands in the rule that decided

	matched, all, part, nothing int
}

func main() {
	product := flag.String("product", "", "the dockwarden program to ask")
	cases := flag.Int("cases", 100_000, "questions in all")
	each := flag.Int("each", 500, "questions for one set of rules")
	seed := flag.Uint64("seed", 1, "the same seed asks the same")
	first := flag.Uint64("first", 0, "number of the first set")
	seconds := flag.Float64("seconds", 0, "stop after so long, with fewer cases; 0 never")
	show := flag.Int("show", 5, "sets whose disagreement is shown")
	compare := flag.Bool("compare", false, "ask `diff` what random edits change, instead")
	flag.Parse()
	if *compare {
		if err := compareAll(*product, *cases, *each, *seed, *show); err != nil {
			fmt.Fprintln(os.Stderr, "rules:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(*product, *cases, *each, *seed, *first, *seconds, *show); err != nil {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

func run(product string, cases, each int, seed, first uint64, seconds float64, show int) error {
	scratch, err := os.MkdirTemp("", "rules-oracle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	started := time.Now()
	numbers := make(chan uint64)
	go func() {
		defer close(numbers)
		for i := range (cases + each - 1) / each {
			if seconds > 0 && time.Since(started).Seconds() > seconds {
				return
			}
			numbers <- first + uint64(i)
		}
	}()
	total := summary{Seed: seed, Decided: map[string]int{}}
	failures := 0
	var guard sync.Mutex
	var workers sync.WaitGroup
	for i := range runtime.NumCPU() {
		workers.Go(func() {
			asks := client{program: product, file: fmt.Sprintf("%s/%d.yml", scratch, i)}
			for number := range numbers {
				configuration, questions := generate(seed, number, each)
				expected := decideAll(configuration, questions)
				answers, err := asks.answers(configuration, questions)
				guard.Lock()
				if err != nil {
					failures++
					if failures <= show {
						fmt.Fprintf(os.Stderr, "set %d of seed %d: %v\n%s\n", number, seed, err, written(configuration))
					}
					guard.Unlock()
					continue
				}
				wrong := total.add(configuration, questions, expected, answers)
				shown := wrong >= 0 && show > 0
				if shown {
					show--
				}
				guard.Unlock()
				if shown {
					fmt.Fprintf(os.Stderr, "set %d of seed %d\n%s\n", number, seed, asks.explainDifference(configuration, questions[wrong]))
				}
			}
		})
	}
	workers.Wait()
	total.Seconds = time.Since(started).Seconds()
	total.shares()
	line, err := json.Marshal(total)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	if failures > 0 {
		return fmt.Errorf("the product takes %d of %d sets of rules not, which docs/reference/rules.md allows", failures, total.Sets+failures)
	}
	if total.Disagreements > 0 {
		return fmt.Errorf("%d of %d decisions are not what docs/reference/rules.md says", total.Disagreements, total.Cases)
	}
	return nil
}

func decideAll(c Configuration, questions []Question) []Answer {
	evaluator := &Evaluator{Labels: c.Users, Now: time.Now()}
	answers := make([]Answer, len(questions))
	for i, q := range questions {
		answers[i] = evaluator.Decide(c.Rules, q)
	}
	return answers
}

// add counts a set's cases and returns the first that disagrees, or -1.
func (s *summary) add(c Configuration, questions []Question, expected, answers []Answer) int {
	wrong := -1
	s.Sets++
	for i, answer := range expected {
		s.Cases++
		if !answer.same(answers[i]) {
			s.Disagreements++
			if wrong < 0 {
				wrong = i
			}
		}
		if answer.Rule != nil {
			s.matched++
			for _, feature := range features(c.Rules[*answer.Rule]) {
				s.Decided[feature]++
			}
		}
		switch {
		case len(answer.Granted) == 0:
			s.nothing++
		case len(answer.Withheld) == 0:
			s.all++
		default:
			s.part++
		}
	}
	return wrong
}

func (s *summary) shares() {
	of := func(n int) float64 { return float64(n*1000/max(s.Cases, 1)) / 1000 }
	s.Matched, s.All, s.Part, s.Nothing = of(s.matched), of(s.all), of(s.part), of(s.nothing)
}
