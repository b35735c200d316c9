package detector

import (
	"encoding/binary"
	"errors"
	"math"
)

// Writer writes a snapshot: little-endian numbers, one after the other.
type Writer struct{ bytes []byte }

// Bytes that were written.
func (w *Writer) Bytes() []byte { return w.bytes }

// Uint32 appends a number.
func (w *Writer) Uint32(value uint32) { w.bytes = binary.LittleEndian.AppendUint32(w.bytes, value) }

// Uint64 appends a number.
func (w *Writer) Uint64(value uint64) { w.bytes = binary.LittleEndian.AppendUint64(w.bytes, value) }

// Float64 appends a number.
func (w *Writer) Float64(value float64) { w.Uint64(math.Float64bits(value)) }

// ErrShort says that a snapshot ends early.
var ErrShort = errors.New("the snapshot ends early")

// Reader reads a snapshot. Bytes may come from a broken disk: after the first that is missing all reads give 0, and Err
// says so.
type Reader struct {
	bytes []byte
	err   error
}

// NewReader reads bytes.
func NewReader(bytes []byte) *Reader { return &Reader{bytes: bytes} }

// Err is [ErrShort] if a read went past the end.
func (r *Reader) Err() error { return r.err }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.bytes) }

func (r *Reader) take(count int) []byte {
	if len(r.bytes) < count {
		r.bytes, r.err = nil, ErrShort
		return make([]byte, count)
	}
	taken := r.bytes[:count]
	r.bytes = r.bytes[count:]
	return taken
}

// Uint32 takes a number.
func (r *Reader) Uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

// Uint64 takes a number.
func (r *Reader) Uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// Float64 takes a number.
func (r *Reader) Float64() float64 { return math.Float64frombits(r.Uint64()) }
