// Command tokendb fills docker_auth's token databases with docker_auth's own libraries, so that a test reads what docker_auth wrote.
//
//	tokendb level FOLDER     each line of standard input becomes a record of LevelDB
//	tokendb hold FOLDER      the same, and the database stays open until standard input ends; a line "held" says that it is
//	tokendb redis URL        each line becomes a record of Redis
//
// A line is JSON: {"user": "ada", "password": "secret", "value": {…}}, where the value is docker_auth's record without its hash. With
// "raw" in place of a value, that text is the record.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/go-redis/redis"
	"github.com/syndtr/goleveldb/leveldb"
	"golang.org/x/crypto/bcrypt"
)

// value has the fields of docker_auth's TokenDBValue, in its order and with its names.
type value struct {
	TokenType      string              `json:"token_type,omitempty"`
	AccessToken    string              `json:"access_token,omitempty"`
	RefreshToken   string              `json:"refresh_token,omitempty"`
	ValidUntil     time.Time           `json:"valid_until,omitempty"`
	DockerPassword string              `json:"docker_password,omitempty"`
	Labels         map[string][]string `json:"labels,omitempty"`
}

type line struct {
	User     string  `json:"user"`
	Password string  `json:"password"`
	Value    value   `json:"value"`
	Raw      *string `json:"raw"`
}

// record is the key and the text that docker_auth stores.
func (line line) record() (string, []byte, error) {
	key := "t:" + line.User
	if line.Raw != nil {
		return key, []byte(*line.Raw), nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(line.Password), bcrypt.DefaultCost)
	if err != nil {
		return "", nil, err
	}
	line.Value.DockerPassword = string(hash)
	text, err := json.Marshal(&line.Value)
	return key, text, err
}

// fill stores what each line of standard input says.
func fill(put func(key string, text []byte) error) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line line
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return err
		}
		key, text, err := line.record()
		if err != nil {
			return err
		}
		if err := put(key, text); err != nil {
			return err
		}
	}
	return lines.Err()
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: tokendb level|hold|redis PLACE")
	}
	way, place := os.Args[1], os.Args[2]
	switch way {
	case "level", "hold":
		db, err := leveldb.OpenFile(place, nil)
		if err != nil {
			return err
		}
		defer db.Close()
		if way == "hold" {
			fmt.Println("held")
		}
		return fill(func(key string, text []byte) error { return db.Put([]byte(key), text, nil) })
	case "redis":
		options, err := redis.ParseURL(place)
		if err != nil {
			return err
		}
		client := redis.NewClient(options)
		defer client.Close()
		return fill(func(key string, text []byte) error { return client.Set(key, text, 0).Err() })
	}
	return fmt.Errorf("no such way: %s", way)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tokendb:", err)
		os.Exit(1)
	}
}
