package main

import (
	"encoding/hex"

	"conformance/common"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/config"
	"github.com/salve-healing/salve/sdk/go/http"
	"github.com/salve-healing/salve/sdk/go/process"
)

func receipt(receipt *salve.Receipt) string {
	if receipt == nil {
		return ""
	}
	return common.Receipt(*receipt)
}

func status(status *process.Status) string {
	if status == nil {
		return ""
	}
	return common.Record(common.Option(status.PID, common.Integer), common.Option(status.Started, common.Time), common.Text(status.State),
		common.Integer(status.RSSBytes), common.Float(status.CPUSeconds), common.Option(status.LastExit, common.Text))
}

func version(version config.Version) string {
	return common.Record(common.Option(version.Value, common.Text), common.Time(version.Since), common.Bool(version.Good))
}

func response(response *http.Response) string {
	if response == nil {
		return ""
	}
	return common.Record(common.Integer(response.Status), common.Fields(response.Headers), "x"+hex.EncodeToString(response.Body))
}

// writtenTerm is what a write gave.
func writtenTerm(written *salve.Receipt, err error) string {
	return common.Result(receipt(written), err)
}

// statusTerm is what process.status gave.
func statusTerm(found *process.Status, err error) string { return common.Result(status(found), err) }

// versionsTerm is what config.history gave.
func versionsTerm(versions []config.Version, err error) string {
	return common.Result(common.Each(versions, version), err)
}

// keysTerm is what config.keys gave.
func keysTerm(keys []config.Key, err error) string {
	return common.Result(common.Each(keys, func(key config.Key) string {
		return common.Tuple(common.Text(key.Name), common.Option(key.Value, common.Text))
	}), err)
}

// answeredTerm is what http.get gave.
func answeredTerm(answer *http.Response, err error) string {
	return common.Result(response(answer), err)
}

// sentTerm is what http.send gave.
func sentTerm(answer *http.Response, written *salve.Receipt, err error) string {
	return common.Result(common.Tuple(response(answer), receipt(written)), err)
}
