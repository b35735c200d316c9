// Package common is what the three test plugins share; sdk/conformance/README.md says how each part behaves.
package common

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/plan"
	"github.com/salve-healing/salve/sdk/go/telemetry"
)

// Text between quotes.
func Text(text string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `"`, `\"`) + `"`
}

// Integer in decimal.
func Integer[T ~uint8 | ~uint16 | ~uint32 | ~uint64](value T) string {
	return strconv.FormatUint(uint64(value), 10)
}

// Float as the bits of a double.
func Float(value float64) string { return fmt.Sprintf("%016x", math.Float64bits(value)) }

// Bool by name.
func Bool(value bool) string { return strconv.FormatBool(value) }

// Record in braces.
func Record(fields ...string) string { return "{" + strings.Join(fields, ",") + "}" }

// List of finished terms.
func List(terms []string) string { return "[" + strings.Join(terms, ",") + "]" }

// Each item's term, as a list.
func Each[T any](items []T, term func(T) string) string {
	terms := make([]string, len(items))
	for index, item := range items {
		terms[index] = term(item)
	}
	return List(terms)
}

// Option of a value that may be missing.
func Option[T any](value *T, term func(T) string) string {
	if value == nil {
		return "none"
	}
	return "some(" + term(*value) + ")"
}

// Tuple in parentheses.
func Tuple(terms ...string) string { return "(" + strings.Join(terms, ",") + ")" }

// Fields in their order.
func Fields(fields []salve.Field) string {
	return Each(fields, func(field salve.Field) string { return Tuple(Text(field.Name), Text(field.Value)) })
}

// Attributes by name.
func Attributes(attributes salve.Attributes) string {
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	return Each(names, func(name string) string { return Tuple(Text(name), Text(attributes[name])) })
}

// Time in nanoseconds.
func Time(t time.Time) string {
	return strconv.FormatUint(uint64(t.Unix())*1e9+uint64(t.Nanosecond()), 10)
}

// Result of a value or an error.
func Result(term string, err error) string {
	if err == nil {
		return "ok(" + term + ")"
	}
	var call *salve.CallError
	if !errors.As(err, &call) {
		panic(err)
	}
	text := Text(call.Text)
	reason := map[salve.Reason]string{
		salve.NotGranted:   "denied(not-granted(" + text + "))",
		salve.NotInPlan:    "denied(not-in-plan(" + text + "))",
		salve.NotRecorded:  "denied(not-recorded)",
		salve.StateChanged: "denied(state-changed(" + text + "))",
		salve.KillSwitch:   "denied(kill-switch)",
		salve.Limit:        "denied(limit(" + text + "))",
		salve.NotFound:     "not-found(" + text + ")",
		salve.Failed:       "failed(" + text + ")",
		salve.TimedOut:     "timed-out",
	}[call.Reason]
	return "err(" + reason + ")"
}

// Target is {id,attributes}.
func Target(target salve.Target) string {
	return Record(Text(target.ID), Attributes(target.Attributes))
}

// Receipt is a record.
func Receipt(receipt salve.Receipt) string {
	return Record(Integer(receipt.Call), Integer(receipt.Step), Text(receipt.Target), Text(receipt.Verb),
		Bool(receipt.Applied), Option(receipt.Before, Text), Option(receipt.After, Text), Attributes(receipt.Extra))
}

func service(stats telemetry.ServiceStats) string {
	return Record(Text(stats.Service), Float(stats.RequestsPerSecond), Float(stats.ErrorRatio),
		Float(stats.DurationMeanMs), Float(stats.DurationP95Ms), Time(stats.LastSeen))
}

func edge(stats telemetry.EdgeStats) string {
	return Record(Text(stats.Caller), Text(stats.Callee), Float(stats.RequestsPerSecond), Float(stats.ErrorRatio),
		Float(stats.DurationMeanMs))
}

func change(change telemetry.Change) string {
	return Record(Time(change.Time), Option(change.Service, Text), Option(change.Target, Text), Text(change.Kind),
		Text(change.What), Option(change.Before, Text), Option(change.After, Text), Text(change.Author))
}

func series(info telemetry.SeriesInfo) string {
	return Record(Integer(info.ID), Text(info.Name), Text(info.Unit), Text(info.Service), Option(info.Limit, Float),
		Attributes(info.Attributes))
}

func step(step plan.Step) string {
	return Record(Text(step.Capability), Text(step.Verb), Text(step.Target), Text(step.Arguments),
		Option(step.Before, Text), Option(step.After, Text), Option(step.Inverse, Text))
}

func expectation(expected plan.Expectation) string {
	return Record(Text(expected.Service), Text(expected.Signal), Option(expected.Lower, Float),
		Option(expected.Upper, Float), Integer(expected.WithinMs), Integer(expected.HoldMs), Integer(expected.SamplesMin))
}

// Plan is a proposal.
func Plan(approved *plan.Plan) string {
	return Record(Text(approved.Summary), Each(approved.Steps, step), Each(approved.Expect, expectation),
		Attributes(approved.Extra))
}
