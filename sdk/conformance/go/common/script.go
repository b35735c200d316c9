package common

import (
	"encoding/hex"
	"strconv"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/clock"
	"github.com/salve-healing/salve/sdk/go/log"
	"github.com/salve-healing/salve/sdk/go/telemetry"
)

// Pairs are ordered.
type Pairs [][2]string

// Fields of pairs.
func (p Pairs) Fields() []salve.Field {
	fields := make([]salve.Field, len(p))
	for index, pair := range p {
		fields[index] = salve.Field{Name: pair[0], Value: pair[1]}
	}
	return fields
}

// Attributes of pairs.
func (p Pairs) Attributes() salve.Attributes {
	attributes := salve.Attributes{}
	for _, pair := range p {
		attributes[pair[0]] = pair[1]
	}
	return attributes
}

// Line to log.
type Line struct {
	Level   string `json:"level"`
	Message string `json:"message"`
	Fields  Pairs  `json:"fields"`
}

// Call to make.
type Call struct {
	Call           string  `json:"call"`
	Target         string  `json:"target"`
	Key            string  `json:"key"`
	Value          *string `json:"value"`
	Method         string  `json:"method"`
	Path           string  `json:"path"`
	Query          Pairs   `json:"query"`
	Headers        Pairs   `json:"headers"`
	Body           string  `json:"body"`
	IdempotencyKey *string `json:"idempotency_key"`
	Fields         Pairs   `json:"fields"`
	From           string  `json:"from"`
	To             string  `json:"to"`
	Service        string  `json:"service"`
	NamePrefix     string  `json:"name_prefix"`
	Series         uint32  `json:"series"`
	DurationMs     uint32  `json:"duration_ms"`
}

// Log writes the lines.
func Log(lines []Line) {
	for _, line := range lines {
		write := map[string]func(string, ...salve.Field){"debug": log.Debug, "info": log.Info, "warn": log.Warn, "error": log.Error}
		write[line.Level](line.Message, line.Fields.Fields()...)
	}
}

// Uint of decimal text; a script that is wrong ends the call.
func Uint(text string) uint64 {
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

// Bytes of hexadecimal text.
func Bytes(text string) []byte {
	bytes, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return bytes
}

func moment(text string) time.Time {
	nanoseconds := Uint(text)
	return time.Unix(int64(nanoseconds/1e9), int64(nanoseconds%1e9))
}

// Observe makes a call of telemetry or clock; ok is false if it is none. now: of the request or incident.
func Observe(call *Call, now time.Time) (term string, ok bool) {
	switch call.Call {
	case "telemetry.services":
		return Each(telemetry.Services(moment(call.From), moment(call.To)), service), true
	case "telemetry.edges":
		return Each(telemetry.Edges(moment(call.From), moment(call.To)), edge), true
	case "telemetry.changes":
		return Each(telemetry.Changes(moment(call.From), moment(call.To)), change), true
	case "telemetry.find":
		return Each(telemetry.Find(call.Service, call.NamePrefix), series), true
	case "telemetry.points":
		points := telemetry.Points(call.Series, moment(call.From), moment(call.To))
		return Each(points, func(point telemetry.Measurement) string {
			return Record(Time(point.Time), Float(point.Value))
		}), true
	case "clock.now":
		return Bool(!clock.Now().Before(now)), true
	case "clock.sleep":
		before := clock.Now()
		duration := time.Duration(call.DurationMs) * time.Millisecond
		clock.Sleep(duration)
		return Bool(clock.Now().Sub(before) >= duration), true
	default:
		return "", false
	}
}
