module bench/restart

go 1.24

require github.com/salve-healing/salve/sdk/go v0.1.0

replace github.com/salve-healing/salve/sdk/go => ../../../../sdk/go
