module conformance/detector

go 1.24

require (
	conformance/common v0.0.0
	github.com/salve-healing/salve/sdk/go v0.1.0
)

replace (
	conformance/common => ../common
	github.com/salve-healing/salve/sdk/go => ../../../go
)
