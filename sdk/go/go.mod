module github.com/salve-healing/salve/sdk/go

go 1.24
