//go:build !wasip1

package detector

// Export makes the plugin a detector. Call it from init. Natively it does nothing: tests bring the detector themselves.
func Export[P any](func(parameters P) (Detector, error)) {}
