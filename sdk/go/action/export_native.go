//go:build !wasip1

package action

// Export makes the plugin an action. Call it from init. Natively it does nothing: tests bring the action themselves.
func Export[P any](Action[P]) {}
