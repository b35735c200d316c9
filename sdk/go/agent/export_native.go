//go:build !wasip1

package agent

// Export makes the plugin an agent. Call it from init. Natively it does nothing: tests bring the agent themselves.
func Export(Agent) {}
