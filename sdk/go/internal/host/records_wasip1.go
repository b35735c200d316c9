package host

import (
	"unsafe"

	salve "github.com/salve-healing/salve/sdk/go"
)

// TargetRecord is types.target.
type TargetRecord struct {
	id         Text
	attributes Pairs
}

// LiftTarget reads one.
func LiftTarget(record *TargetRecord) salve.Target {
	return salve.Target{ID: record.id.String(), Attributes: LiftAttributes(record.attributes)}
}

// ReceiptRecord is types.receipt.
type ReceiptRecord struct {
	call          uint64
	step          uint32
	target, verb  Text
	applied       bool
	before, after Option[Text]
	extra         Pairs
}

// LiftReceipt reads one.
func LiftReceipt(record *ReceiptRecord) salve.Receipt {
	return salve.Receipt{
		Call:    record.call,
		Step:    record.step,
		Target:  record.target.String(),
		Verb:    record.verb.String(),
		Applied: record.applied,
		Before:  liftOption(record.before, Text.String),
		After:   liftOption(record.after, Text.String),
		Extra:   LiftAttributes(record.extra),
	}
}

// callError is types.call-error: cases denied, not-found, failed, timed-out.
type callError struct {
	tag    uint8
	denied struct {
		tag  uint8
		text Text
	}
}

func (record *callError) lift() error {
	// The text of not-found and failed stands where denied has its own tag.
	text := (*Text)(unsafe.Pointer(&record.denied))
	switch record.tag {
	case 0:
		failure := &salve.CallError{Reason: salve.Reason(record.denied.tag)}
		if failure.Reason != salve.NotRecorded && failure.Reason != salve.KillSwitch {
			failure.Text = record.denied.text.String()
		}
		return failure
	case 1:
		return &salve.CallError{Reason: salve.NotFound, Text: text.String()}
	case 2:
		return &salve.CallError{Reason: salve.Failed, Text: text.String()}
	default:
		return &salve.CallError{Reason: salve.TimedOut}
	}
}

// answer is result<T, call-error>. An error stands where the value would, and may be the larger of the two.
type answer[T any] struct {
	failed bool
	value  T
	_      [unsafe.Sizeof(callError{})]byte
}

func (a *answer[T]) error() error {
	if !a.failed {
		return nil
	}
	return (*callError)(unsafe.Pointer(&a.value)).lift()
}

// result is result<T, string>; both values stand at the same place, and no T is smaller than a text.
type result[T any] struct {
	failed bool
	value  T
}

// Finish makes an answer of a value or an error.
func Finish[T, U any](value *U, err error, lower func(*U) T) unsafe.Pointer {
	area := new(result[T])
	if err != nil {
		area.failed = true
		*(*Text)(unsafe.Pointer(&area.value)) = LowerText(err.Error())
	} else {
		area.value = lower(value)
	}
	return Keep(area)
}

// FinishEmpty makes an answer of nothing or an error.
func FinishEmpty(err error) unsafe.Pointer {
	return Finish(&struct{}{}, err, func(*struct{}) Text { return Text{} })
}
