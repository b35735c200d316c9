//! Whole-system tests: real processes on loopback ports.
