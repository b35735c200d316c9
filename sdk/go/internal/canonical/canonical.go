// Package canonical writes JSON in the one form that the host compares: keys in the order of their names, no spaces, no
// escapes but those that JSON demands. encoding/json escapes more (U+2028, for instance), so it cannot be used here.
package canonical

import (
	"strings"

	salve "github.com/salve-healing/salve/sdk/go"
)

// String appends text in quotes.
func String(to []byte, text string) []byte {
	const hex = "0123456789abcdef"
	text = strings.ToValidUTF8(text, "\uFFFD")
	to = append(to, '"')
	begin := 0
	for at := 0; at < len(text); at++ {
		character := text[at]
		if character >= 0x20 && character != '"' && character != '\\' {
			continue
		}
		to = append(to, text[begin:at]...)
		begin = at + 1
		switch character {
		case '"', '\\':
			to = append(to, '\\', character)
		case '\b':
			to = append(to, '\\', 'b')
		case '\f':
			to = append(to, '\\', 'f')
		case '\n':
			to = append(to, '\\', 'n')
		case '\r':
			to = append(to, '\\', 'r')
		case '\t':
			to = append(to, '\\', 't')
		default:
			to = append(to, '\\', 'u', '0', '0', hex[character>>4], hex[character&15])
		}
	}
	to = append(to, text[begin:]...)
	return append(to, '"')
}

// Optional appends text in quotes, or null.
func Optional(to []byte, text *string) []byte {
	if text == nil {
		return append(to, "null"...)
	}
	return String(to, *text)
}

// Fields appends an array of arrays of two.
func Fields(to []byte, fields []salve.Field) []byte {
	to = append(to, '[')
	for index, field := range fields {
		if index > 0 {
			to = append(to, ',')
		}
		to = append(to, '[')
		to = String(to, field.Name)
		to = append(to, ',')
		to = String(to, field.Value)
		to = append(to, ']')
	}
	return append(to, ']')
}
