// Package log writes to the host's log, which adds the plugin's name and the incident's id. At most 64 KiB a call of the
// plugin; what is over is counted and dropped.
package log

import (
	"fmt"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/internal/host"
)

// Debug writes a line for authors.
func Debug(message string, fields ...salve.Field) { host.Log(host.Debug, message, fields) }

// Info writes a normal line.
func Info(message string, fields ...salve.Field) { host.Log(host.Info, message, fields) }

// Warn writes that something is odd.
func Warn(message string, fields ...salve.Field) { host.Log(host.Warn, message, fields) }

// Error writes that something is wrong.
func Error(message string, fields ...salve.Field) { host.Log(host.Error, message, fields) }

// Field makes a field of any value.
func Field(name string, value any) salve.Field {
	return salve.Field{Name: name, Value: fmt.Sprint(value)}
}
