package host

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	salve "github.com/salve-healing/salve/sdk/go"
)

// The stub in place of WASI (host/authoring/src/build/go/stub.wat) besides what Go's runtime calls.

//go:wasmimport wasi_snapshot_preview1 salve_clock_set
func stubClockSet(unixNanoseconds uint64)

//go:wasmimport wasi_snapshot_preview1 salve_slept_take
func stubSleptTake() uint64

//go:wasmimport wasi_snapshot_preview1 salve_memory_bytes
func stubMemoryBytes() uint64

func init() {
	// A quarter is left for what the collector does not count and for the garbage of one cycle.
	debug.SetMemoryLimit(int64(stubMemoryBytes() / 4 * 3))
}

// What a short call needs of the heap.
const heapRoomBytes = 1 << 20

var heapRoom []byte

// Ready ends the start, which runs when the plugin is built: it makes room in the heap. Growing the heap makes Go clear half a MiB,
// which would cost a fresh instance more than most calls do.
func Ready() {
	heapRoom = make([]byte, heapRoomBytes)
	heapRoom = nil
	runtime.GC()
}

// Sleeps of less than a millisecond that the host has not been told yet.
var sleptNanoseconds uint64

// settle waits for as long as goroutines have slept. time.Sleep only moves the guest's own clock; nobody outside can
// tell, as long as the wait comes before the next call that somebody could see.
func settle() {
	sleptNanoseconds += stubSleptTake()
	for sleptNanoseconds >= 1e6 {
		milliseconds := min(sleptNanoseconds/1e6, 1<<32-1)
		sleptNanoseconds -= milliseconds * 1e6
		clockSleep(uint32(milliseconds))
	}
}

// BeginAt begins an export of an agent or action, whose clock stands at now. The result ends it.
func BeginAt(now uint64) (ended func()) {
	begin()
	stubClockSet(now)
	return func() {
		report(recover())
		settle()
		end()
	}
}

// BeginDetector begins an export of a detector, which has no clock but its batches: 0 leaves time.Now as it is.
func BeginDetector(now uint64) (ended func()) {
	begin()
	if now != 0 {
		stubClockSet(now)
	}
	return func() {
		report(recover())
		end()
	}
}

// report sends the text of a panic to the host's log before the trap, which has no text.
func report(reason any) {
	if reason != nil {
		Log(Error, fmt.Sprintf("panic: %v", reason), []salve.Field{{Name: "stack", Value: string(debug.Stack())}})
		panic(reason)
	}
}

// mark frees what one import has used, once it is lifted.
func mark() (free func()) {
	objects, chunks, used := len(kept), len(arena.chunks), arena.used
	return func() {
		clear(kept[objects:])
		kept = kept[:objects]
		// Chunks that were added stay until the export ends; the next one may need them.
		if len(arena.chunks) == chunks {
			arena.used = used
		}
	}
}

//go:wasmimport salve:plugin/log@0.1.0 write
func logWrite(level uint32, message, messageLength, fields, fieldsLength uint32)

// Log writes a line.
func Log(level Level, message string, fields []salve.Field) {
	defer mark()()
	text, list := LowerText(message), Lower(fields, lowerField)
	logWrite(uint32(level), text.address, text.length, list.address, list.length)
}

//go:wasmimport salve:plugin/clock@0.1.0 now
func clockNow() uint64

//go:wasmimport salve:plugin/clock@0.1.0 sleep
func clockSleep(milliseconds uint32)

// Now is the host's time.
func Now() time.Time {
	settle()
	now := clockNow()
	stubClockSet(now)
	return Time(now)
}

// Sleep waits.
func Sleep(d time.Duration) {
	settle()
	for left := Milliseconds(d); ; {
		part := min(left, 1<<32-1)
		clockSleep(uint32(part))
		if left -= part; left == 0 {
			return
		}
	}
}

// records calls an import that gives a list.
func records[T, U any](call func(to unsafe.Pointer), lift func(*T) U) []U {
	settle()
	defer mark()()
	area := new(List[T])
	call(unsafe.Pointer(area))
	return Lift(*area, lift)
}

// ask calls an import that gives a result.
func ask[T, U any](call func(to unsafe.Pointer), lift func(*T) U) (value U, err error) {
	settle()
	defer mark()()
	area := new(answer[T])
	call(unsafe.Pointer(area))
	if err := area.error(); err != nil {
		return value, err
	}
	return lift(&area.value), nil
}

func liftReceipt(record *ReceiptRecord) *salve.Receipt {
	receipt := LiftReceipt(record)
	return &receipt
}
