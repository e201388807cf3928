package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// comparison counts what `dockwarden diff` said of pairs of policies.
type comparison struct {
	Seed       uint64         `json:"seed"`
	Pairs      int            `json:"pairs"`
	Questions  int            `json:"questions"`
	Differing  int            `json:"differing"` // questions and actions that the two policies decide differently
	Rows       int            `json:"rows"`
	Confirmed  int            `json:"confirmed"`  // rows whose question the oracle decides as they say
	References int            `json:"references"` // rows with a tag or digest, which the oracle does not know
	Undecided  int            `json:"undecided"`  // pairs of which not all could be told
	Why        map[string]int `json:"why"`        // and why not
	Left       int            `json:"left"`       // questions that differ and are only among what could not be told
	Missed     int            `json:"missed"`
	Wrong      int            `json:"wrong"`
	Seconds    float64        `json:"seconds"`
}

// row is what `diff --json` says of one pair of rules.
type row struct {
	Account   string `json:"account"`
	IP        string `json:"ip"`
	Service   string `json:"service"`
	Reference string `json:"reference"`
	At        string `json:"at"`
	Scope     string `json:"scope"`
	Old       *int   `json:"old_rule"`
	New       *int   `json:"new_rule"`
}

type findings struct {
	Granted   []row `json:"granted"`
	Withheld  []row `json:"withheld"`
	Undecided []struct {
		Why string `json:"why"`
		Old []int  `json:"old_rules"`
		New []int  `json:"new_rules"`
	} `json:"undecided"`
}

// compareAll edits random policies, asks `diff` what changed, and looks whether any question shows more or less.
func compareAll(product string, questions, each int, seed uint64, show int) error {
	scratch, err := os.MkdirTemp("", "rules-diff-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	started := time.Now()
	total := comparison{Seed: seed, Why: map[string]int{}}
	numbers := make(chan uint64)
	go func() {
		defer close(numbers)
		for i := range (questions + each - 1) / each {
			numbers <- uint64(i)
		}
	}()
	var guard sync.Mutex
	var workers sync.WaitGroup
	for i := range runtime.NumCPU() {
		workers.Go(func() {
			for number := range numbers {
				before, asked := generate(seed, number, each)
				after := edited(dice{rand.New(rand.NewPCG(seed+1, number))}, before)
				one, complaints, err := compareOne(product, fmt.Sprintf("%s/%d", scratch, i), before, after, asked, number%2 == 0)
				guard.Lock()
				if err != nil {
					total.Wrong++
					complaints = append(complaints, err.Error())
				}
				total.add(one)
				if len(complaints) > 0 && show > 0 {
					show--
					fmt.Fprintf(os.Stderr, "pair %d of seed %d\n%s\nold %snew %s\n", number, seed, strings.Join(complaints, "\n"), written(before), written(after))
				}
				guard.Unlock()
			}
		})
	}
	workers.Wait()
	total.Seconds = time.Since(started).Seconds()
	summary, err := json.Marshal(total)
	if err != nil {
		return err
	}
	fmt.Println(string(summary))
	if total.Missed > 0 || total.Wrong > 0 {
		return fmt.Errorf("diff missed %d differences, and %d of its rows are not what docs/reference/rules.md says", total.Missed, total.Wrong)
	}
	return nil
}

func (c *comparison) add(one comparison) {
	c.Pairs++
	c.Questions += one.Questions
	c.Differing += one.Differing
	c.Rows += one.Rows
	c.Confirmed += one.Confirmed
	c.References += one.References
	c.Undecided += one.Undecided
	c.Left += one.Left
	for why, pairs := range one.Why {
		c.Why[why] += pairs
	}
	c.Missed += one.Missed
	c.Wrong += one.Wrong
}

// edited is a policy with one to three changes.
func edited(d dice, c Configuration) Configuration {
	rules := append([]Rule{}, c.Rules...)
	users := map[string]map[string][]string{}
	names := []string{}
	for account, labels := range c.Users {
		users[account] = labels
	}
	for _, account := range accounts {
		if _, known := c.Users[account]; known && !has(names, account) {
			names = append(names, account)
		}
	}
	other, _ := generate(d.Uint64(), 0, 0)
	for range 1 + d.IntN(3) {
		at := d.IntN(len(rules))
		switch d.IntN(7) {
		case 0:
			if len(rules) > 1 {
				rules = append(append([]Rule{}, rules[:at]...), rules[at+1:]...)
			}
		case 1:
			rules = append(append(append([]Rule{}, rules[:at]...), pick(d, other.Rules)), rules[at:]...)
		case 2:
			rules[0], rules[at] = rules[at], rules[0]
		case 3, 4:
			rules[at].Actions = pick(d, [][]string{{"*"}, {}, {"pull"}, {"pull", "push"}, {"*", "pull"}, {"admin"}})
		case 5:
			match := configurationFields(rules[at])
			for _, field := range []string{"account", "name", "service", "type", "ip", "labels"} {
				if _, there := match[field]; there && d.oneIn(2) {
					delete(match, field)
					break
				}
			}
			rules[at].Match = match
		default:
			if len(names) > 0 {
				users[pick(d, names)] = labels(d)
			}
		}
	}
	return Configuration{users, rules}
}

// compareOne compares two policies; where services are closed, those are all that there are.
func compareOne(product, file string, before, after Configuration, asked []Question, closed bool) (comparison, []string, error) {
	known := []string{"registry", "Docker registry", "r.a:5000", "a", "ab", "*", "a/b", "Ab", "é"}
	counted := comparison{Why: map[string]int{}}
	var complaints []string
	for name, c := range map[string]Configuration{file + "-old.yml": before, file + "-new.yml": after} {
		text := written(c)
		if closed {
			text = strings.Replace(text, `"issuer":`, `"services":`+strings.TrimSpace(line(known))+`,"issuer":`, 1)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return counted, nil, err
		}
	}
	var out, said bytes.Buffer
	command := exec.Command(product, "diff", file+"-old.yml", file+"-new.yml", "--json")
	command.Stdout, command.Stderr = &out, &said
	err := command.Run()
	var found findings
	if wrong := json.Unmarshal(out.Bytes(), &found); wrong != nil {
		return counted, nil, fmt.Errorf("no answer (%v): %s", err, said.String())
	}
	wanted := 0
	if len(found.Granted)+len(found.Withheld) > 0 {
		wanted = 3
	} else if len(found.Undecided) > 0 {
		wanted = 4
	}
	if command.ProcessState.ExitCode() != wanted {
		return counted, nil, fmt.Errorf("ended with %d, and should with %d", command.ProcessState.ExitCode(), wanted)
	}
	now := time.Now()
	decide := func(c Configuration, q Question, at time.Time) (*int, bool) {
		if _, known := c.Users[q.Account]; !known {
			return nil, false
		}
		answer := (&Evaluator{Labels: c.Users, Now: at}).Decide(c.Rules, q)
		return answer.Rule, len(answer.Granted) > 0 && has(answer.Granted, q.Actions[0])
	}
	told := map[string]bool{}
	for shift, rows := range map[bool][]row{true: found.Granted, false: found.Withheld} {
		for _, row := range rows {
			counted.Rows++
			kind, rest, _ := strings.Cut(row.Scope, ":")
			colon := strings.LastIndex(rest, ":")
			q := Question{Account: row.Account, IP: row.IP, Service: row.Service, Type: kind, Name: rest[:colon], Actions: []string{rest[colon+1:]}}
			told[fmt.Sprint(shift, number(row.Old), number(row.New), q.Actions[0])] = true
			if row.Reference != "" {
				counted.References++
				continue
			}
			at := now
			if row.At != "" {
				at = moment(row.At, 0)
			}
			was, had := decide(before, q, at)
			is, has := decide(after, q, at)
			if had == has || has != shift || number(was) != number(row.Old) || number(is) != number(row.New) {
				counted.Wrong++
				complaints = append(complaints, "not so, by the oracle: "+line(row))
				continue
			}
			counted.Confirmed++
		}
	}
	open := map[string]bool{}
	anything := false
	for _, undecided := range found.Undecided {
		counted.Why[undecided.Why]++
		// What no service or type was tried for could be anything.
		anything = anything || strings.Contains(undecided.Why, "were not tried")
		for _, rule := range undecided.Old {
			open[fmt.Sprint("old", rule)] = true
		}
		for _, rule := range undecided.New {
			open[fmt.Sprint("new", rule)] = true
		}
	}
	if len(found.Undecided) > 0 {
		counted.Undecided = 1
	}
	for _, q := range asked {
		counted.Questions++
		q.Labels = nil
		if q.Service == "" {
			continue
		}
		for _, word := range []string{"pull", "push", "delete", "*", "admin", "x-1"} {
			q.Actions = []string{word}
			was, had := decide(before, q, now)
			is, has := decide(after, q, now)
			if had == has {
				continue
			}
			counted.Differing++
			switch {
			case told[fmt.Sprint(has, number(was), number(is), word)]:
			case anything || open["old"+number(was)] || open["new"+number(is)]:
				counted.Left++
			default:
				counted.Missed++
				complaints = append(complaints, fmt.Sprintf("not told: %s > %s by %s", number(was), number(is), line(q)))
			}
		}
	}
	return counted, complaints, nil
}

func number(rule *int) string {
	if rule == nil {
		return "-"
	}
	return fmt.Sprint(*rule)
}
