module example.com/drain-haproxy

go 1.24

require github.com/salve-healing/salve/sdk/go v0.1.0

// In a copy elsewhere: wherever your Salve is, or no such line once the SDK comes from the module proxy.
replace github.com/salve-healing/salve/sdk/go => ../../sdk/go
