package host

import (
	"sort"
	"strings"
	"unicode/utf8"
	"unsafe"

	salve "github.com/salve-healing/salve/sdk/go"
)

// The canonical ABI in Go: what the host writes is read through structs of the same layout, since both lay fields out by
// their natural alignment. Addresses are 32 bits wide there, and pointers 64 in Go, so addresses are numbers here.
//
// What always holds:
//   - memory that the host fills comes from the arena, and is good until the export that is running returns
//   - memory that the host reads is in kept until then, so that the garbage collector does not take it

// Text is a string.
type Text struct{ address, length uint32 }

// List is a list of records of type T.
type List[T any] struct{ address, length uint32 }

// Option is an optional value.
type Option[T any] struct {
	some  bool
	value T
}

// Pair is a tuple of two strings.
type Pair struct{ name, value Text }

// Pairs is a list of them.
type Pairs = List[Pair]

const (
	chunkBytes = 64 << 10
	// What stays reserved between two calls.
	idleBytesMax = 4 << 20
)

// One arena, since an instance runs one call at a time. Chunks never move; the newest is filled from its start.
var arena struct {
	chunks [][]uint64
	used   int // bytes of the newest chunk
	total  int // bytes of all chunks
}

// Objects that the host may still read.
var kept []unsafe.Pointer

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldBytes, align, newBytes uint32) unsafe.Pointer {
	if newBytes == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	place := reserve(int(newBytes))
	if oldBytes > 0 {
		copy(unsafe.Slice((*byte)(place), newBytes), unsafe.Slice((*byte)(old), oldBytes))
	}
	return place
}

func reserve(bytes int) unsafe.Pointer {
	bytes = (bytes + 7) &^ 7
	last := len(arena.chunks) - 1
	if last < 0 || len(arena.chunks[last])*8-arena.used < bytes {
		size := max(bytes, chunkBytes)
		arena.chunks = append(arena.chunks, make([]uint64, size/8))
		arena.used = 0
		arena.total += size
		last++
	}
	place := unsafe.Pointer(&arena.chunks[last][arena.used/8])
	arena.used += bytes
	return place
}

// begin frees what the host has read by now: the answer of the call before. The arena has this call's arguments already.
func begin() {
	clear(kept)
	kept = kept[:0]
}

// end frees the arguments; the answer is in kept.
func end() {
	if len(arena.chunks) > 1 {
		// One chunk that holds it all next time.
		size := min(arena.total, idleBytesMax)
		arena.chunks = [][]uint64{make([]uint64, size/8)}
		arena.total = size
	} else if arena.total > idleBytesMax {
		arena.chunks, arena.total = nil, 0
	}
	arena.used = 0
}

func pointer(address uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(address)) }

func address(of unsafe.Pointer) uint32 { return uint32(uintptr(of)) }

// keep holds an object for the host and gives its address.
func keep(object unsafe.Pointer) uint32 {
	kept = append(kept, object)
	return address(object)
}

// String copies the text: the arena's memory is used again.
func (t Text) String() string {
	if t.length == 0 {
		return ""
	}
	return strings.Clone(unsafe.String((*byte)(pointer(t.address)), t.length))
}

// TextAt is a text among an export's parameters.
func TextAt(at, length uint32) Text { return Text{at, length} }

// ListAt is a list among an export's parameters.
func ListAt[T any](at, length uint32) List[T] { return List[T]{at, length} }

// View is the list's memory, good until the export returns.
func (l List[T]) View() []T {
	if l.length == 0 {
		return nil
	}
	return unsafe.Slice((*T)(pointer(l.address)), l.length)
}

// Lift makes a Go value of each record.
func Lift[T, U any](l List[T], each func(*T) U) []U {
	items := l.View()
	if len(items) == 0 {
		return nil
	}
	lifted := make([]U, len(items))
	for index := range items {
		lifted[index] = each(&items[index])
	}
	return lifted
}

// Lower makes a record of each Go value.
func Lower[T, U any](items []U, each func(*U) T) List[T] {
	if len(items) == 0 {
		return List[T]{address: 8}
	}
	lowered := make([]T, len(items))
	for index := range items {
		lowered[index] = each(&items[index])
	}
	return LowerSlice(lowered)
}

// LowerSlice hands over a slice as it is.
func LowerSlice[T any](items []T) List[T] {
	if len(items) == 0 {
		return List[T]{address: 8}
	}
	return List[T]{keep(unsafe.Pointer(unsafe.SliceData(items))), uint32(len(items))}
}

// LowerText hands over a string.
func LowerText(text string) Text {
	if text == "" {
		return Text{address: 1}
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	return Text{keep(unsafe.Pointer(unsafe.StringData(text))), uint32(len(text))}
}

func lowerOption[T, U any](value *U, lower func(U) T) (option Option[T]) {
	if value != nil {
		option.some, option.value = true, lower(*value)
	}
	return option
}

func liftOption[T, U any](option Option[T], lift func(T) U) *U {
	if !option.some {
		return nil
	}
	value := lift(option.value)
	return &value
}

// Some is an optional value that is there.
func Some[T any](value T) Option[T] { return Option[T]{true, value} }

// LiftOptional reads an optional number.
func LiftOptional[T any](option Option[T]) *T { return liftOption(option, same) }

// LowerOptional hands over an optional number.
func LowerOptional[T any](value *T) Option[T] { return lowerOption(value, same) }

// LiftOptionalText reads an optional text.
func LiftOptionalText(option Option[Text]) *string { return liftOption(option, Text.String) }

// LowerOptionalText hands over an optional text.
func LowerOptionalText(value *string) Option[Text] { return lowerOption(value, LowerText) }

// Keep holds an answer until the next call.
func Keep[T any](object *T) unsafe.Pointer {
	kept = append(kept, unsafe.Pointer(object))
	return unsafe.Pointer(object)
}

func same[T any](value T) T { return value }

func liftPair(pair *Pair) salve.Field {
	return salve.Field{Name: pair.name.String(), Value: pair.value.String()}
}

func lowerField(field *salve.Field) Pair {
	return Pair{LowerText(field.Name), LowerText(field.Value)}
}

// LiftAttributes makes a map of pairs.
func LiftAttributes(pairs Pairs) salve.Attributes {
	attributes := make(salve.Attributes, pairs.length)
	view := pairs.View()
	for index := range view {
		attributes[view[index].name.String()] = view[index].value.String()
	}
	return attributes
}

// LowerAttributes makes pairs of a map, ordered by name, so that equal maps give equal bytes.
func LowerAttributes(attributes salve.Attributes) Pairs {
	fields := make([]salve.Field, 0, len(attributes))
	for name, value := range attributes {
		fields = append(fields, salve.Field{Name: name, Value: value})
	}
	sort.Slice(fields, func(a, b int) bool { return fields[a].Name < fields[b].Name })
	return Lower(fields, lowerField)
}
