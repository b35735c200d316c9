package host

import (
	"unsafe"

	salve "github.com/salve-healing/salve/sdk/go"
)

//go:wasmimport salve:plugin/process@0.1.0 status
func processStatus(target, targetLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/process@0.1.0 start
func processStart(target, targetLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/process@0.1.0 stop
func processStop(target, targetLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/process@0.1.0 restart
func processRestart(target, targetLength uint32, into unsafe.Pointer)

type processStatusRecord struct {
	pid        Option[uint32]
	started    Option[uint64]
	state      Text
	rssBytes   uint64
	cpuSeconds float64
	lastExit   Option[Text]
}

// ProcessStatusOf is process.status.
func ProcessStatusOf(target string) (*ProcessStatus, error) {
	call := func(into unsafe.Pointer) {
		of := LowerText(target)
		processStatus(of.address, of.length, into)
	}
	return ask(call, func(record *processStatusRecord) *ProcessStatus {
		return &ProcessStatus{
			PID:        liftOption(record.pid, same),
			Started:    liftOption(record.started, Time),
			State:      record.state.String(),
			RSSBytes:   record.rssBytes,
			CPUSeconds: record.cpuSeconds,
			LastExit:   liftOption(record.lastExit, Text.String),
		}
	})
}

// ProcessStart is process.start.
func ProcessStart(target string) (*salve.Receipt, error) {
	return ask(func(into unsafe.Pointer) {
		of := LowerText(target)
		processStart(of.address, of.length, into)
	}, liftReceipt)
}

// ProcessStop is process.stop.
func ProcessStop(target string) (*salve.Receipt, error) {
	return ask(func(into unsafe.Pointer) {
		of := LowerText(target)
		processStop(of.address, of.length, into)
	}, liftReceipt)
}

// ProcessRestart is process.restart.
func ProcessRestart(target string) (*salve.Receipt, error) {
	return ask(func(into unsafe.Pointer) {
		of := LowerText(target)
		processRestart(of.address, of.length, into)
	}, liftReceipt)
}

//go:wasmimport salve:plugin/config@0.1.0 get
func configGet(target, targetLength, key, keyLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/config@0.1.0 history
func configHistory(target, targetLength, key, keyLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/config@0.1.0 keys
func configKeys(target, targetLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/config@0.1.0 set
func configSet(target, targetLength, key, keyLength, some, value, valueLength uint32, into unsafe.Pointer)

type versionRecord struct {
	value Option[Text]
	since uint64
	good  bool
}

type keyRecord struct {
	name  Text
	value Option[Text]
}

// ConfigGet is config.get.
func ConfigGet(target, key string) (*string, error) {
	call := func(into unsafe.Pointer) {
		of, name := LowerText(target), LowerText(key)
		configGet(of.address, of.length, name.address, name.length, into)
	}
	return ask(call, func(value *Option[Text]) *string { return liftOption(*value, Text.String) })
}

// ConfigHistory is config.history.
func ConfigHistory(target, key string) ([]Version, error) {
	call := func(into unsafe.Pointer) {
		of, name := LowerText(target), LowerText(key)
		configHistory(of.address, of.length, name.address, name.length, into)
	}
	return ask(call, func(list *List[versionRecord]) []Version {
		return Lift(*list, func(record *versionRecord) Version {
			return Version{
				Value: liftOption(record.value, Text.String),
				Since: Time(record.since),
				Good:  record.good,
			}
		})
	})
}

// ConfigKeys is config.keys.
func ConfigKeys(target string) ([]Key, error) {
	call := func(into unsafe.Pointer) {
		of := LowerText(target)
		configKeys(of.address, of.length, into)
	}
	return ask(call, func(list *List[keyRecord]) []Key {
		return Lift(*list, func(record *keyRecord) Key {
			return Key{Name: record.name.String(), Value: liftOption(record.value, Text.String)}
		})
	})
}

// ConfigSet is config.set.
func ConfigSet(target, key string, value *string) (*salve.Receipt, error) {
	return ask(func(into unsafe.Pointer) {
		of, name := LowerText(target), LowerText(key)
		some, text := flatOption(value)
		configSet(of.address, of.length, name.address, name.length, some, text.address, text.length, into)
	}, liftReceipt)
}

func flatOption(value *string) (some uint32, text Text) {
	if value == nil {
		return 0, Text{}
	}
	return 1, LowerText(*value)
}

//go:wasmimport salve:plugin/http@0.1.0 get
func httpGet(
	target, targetLength, method, methodLength, path, pathLength, query, queryLength, headers, headersLength,
	body, bodyLength, some, key, keyLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/http@0.1.0 send
func httpSend(
	target, targetLength, method, methodLength, path, pathLength, query, queryLength, headers, headersLength,
	body, bodyLength, some, key, keyLength uint32, into unsafe.Pointer)

type responseRecord struct {
	status  uint16
	headers Pairs
	body    List[byte]
}

type sentRecord struct {
	response responseRecord
	receipt  ReceiptRecord
}

func liftResponse(record *responseRecord) *Response {
	return &Response{
		Status:  record.status,
		Headers: Lift(record.headers, liftPair),
		Body:    append([]byte(nil), record.body.View()...),
	}
}

// HTTPGet is http.get.
func HTTPGet(request *Request) (*Response, error) {
	return ask(func(into unsafe.Pointer) {
		target, method, path := LowerText(request.Target), LowerText(request.Method), LowerText(request.Path)
		query, headers := Lower(request.Query, lowerField), Lower(request.Headers, lowerField)
		body := LowerSlice(request.Body)
		some, key := flatOption(request.IdempotencyKey)
		httpGet(target.address, target.length, method.address, method.length, path.address, path.length,
			query.address, query.length, headers.address, headers.length, body.address, body.length,
			some, key.address, key.length, into)
	}, liftResponse)
}

// HTTPSend is http.send.
func HTTPSend(request *Request) (*Response, *salve.Receipt, error) {
	type sent struct {
		response *Response
		receipt  *salve.Receipt
	}
	answer, err := ask(func(into unsafe.Pointer) {
		target, method, path := LowerText(request.Target), LowerText(request.Method), LowerText(request.Path)
		query, headers := Lower(request.Query, lowerField), Lower(request.Headers, lowerField)
		body := LowerSlice(request.Body)
		some, key := flatOption(request.IdempotencyKey)
		httpSend(target.address, target.length, method.address, method.length, path.address, path.length,
			query.address, query.length, headers.address, headers.length, body.address, body.length,
			some, key.address, key.length, into)
	}, func(record *sentRecord) sent {
		return sent{liftResponse(&record.response), liftReceipt(&record.receipt)}
	})
	return answer.response, answer.receipt, err
}

//go:wasmimport salve:plugin/notify@0.1.0 send
func notifySend(target, targetLength, fields, fieldsLength uint32, into unsafe.Pointer)

// NotifySend is notify.send.
func NotifySend(target string, fields []salve.Field) (*salve.Receipt, error) {
	return ask(func(into unsafe.Pointer) {
		of, list := LowerText(target), Lower(fields, lowerField)
		notifySend(of.address, of.length, list.address, list.length, into)
	}, liftReceipt)
}
