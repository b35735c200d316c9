// Package config reads and sets keys of configuration files (TOML, YAML, JSON, .env). A set is taken back by a set of the
// value before.
package config

import (
	"encoding/json"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/internal/canonical"
	"github.com/salve-healing/salve/sdk/go/internal/host"
	"github.com/salve-healing/salve/sdk/go/plan"
)

// Version of a key.
type Version = host.Version

// Key and its value in force.
type Key = host.Key

// Get gives the value of a key (a dotted path, for instance pool.size); ok is false if the key is absent.
func Get(target, key string) (value string, ok bool, err error) {
	found, err := host.ConfigGet(target, key)
	if err != nil || found == nil {
		return "", false, err
	}
	return *found, true, nil
}

// History gives the versions of a key, newest first; the first is in force.
func History(target, key string) ([]Version, error) { return host.ConfigHistory(target, key) }

// Keys that may be read here.
func Keys(target string) ([]Key, error) { return host.ConfigKeys(target) }

// Set one key, keeping the type, comments, owner and mode of the file.
func Set(target, key, value string) (*salve.Receipt, error) {
	return host.ConfigSet(target, key, &value)
}

// Remove one key.
func Remove(target, key string) (*salve.Receipt, error) { return host.ConfigSet(target, key, nil) }

// SetStep licenses [Set] with just this key and value.
func SetStep(target, key, value string) plan.Step { return step(target, key, &value) }

// RemoveStep licenses [Remove] of just this key.
func RemoveStep(target, key string) plan.Step { return step(target, key, nil) }

func step(target, key string, value *string) plan.Step {
	arguments := canonical.String([]byte(`{"key":`), key)
	arguments = canonical.Optional(append(arguments, `,"value":`...), value)
	return plan.Step{
		Capability: "config",
		Verb:       "set",
		Target:     target,
		Arguments:  string(append(arguments, '}')),
	}
}

func init() {
	plan.Register("config", func(step *plan.Step, _ [][]byte) (*salve.Receipt, error) {
		if step.Verb != "set" {
			return nil, &salve.CallError{
				Reason: salve.NotFound,
				Text:   "`config` has no write `" + step.Verb + "`",
			}
		}
		var arguments struct {
			Key   string  `json:"key"`
			Value *string `json:"value"`
		}
		if err := json.Unmarshal([]byte(step.Arguments), &arguments); err != nil {
			return nil, &salve.CallError{Reason: salve.Failed, Text: "arguments of the step: " + err.Error()}
		}
		return host.ConfigSet(step.Target, arguments.Key, arguments.Value)
	})
}
